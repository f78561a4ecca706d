//! YAML (and JSON, which is YAML) as a tree of nodes that know their line. Scalars keep the text that
//! was written, so that `13.10` stays a version.

use saphyr_parser::{Event, Parser, ScalarStyle};

/// What is wrong, and in which line of the text, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {message}")]
pub struct ParseError {
    pub line: usize,
    pub message: String,
}

impl ParseError {
    pub fn new(line: usize, message: impl Into<String>) -> Self {
        Self {
            line,
            message: message.into(),
        }
    }
}

/// A value and the line it was written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    pub line: usize,
    pub value: T,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub line: usize,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Null,
    Scalar(String),
    List(Vec<Node>),
    /// In the order of the text, each key once.
    Map(Vec<(At<String>, Node)>),
}

/// Folders of folders of lists: deeper than any treefile, shallower than the stack.
const MAX_DEPTH: usize = 16;

/// The one document of a text; an empty text is an empty map.
pub fn read(text: &str) -> Result<Node, ParseError> {
    let mut events = Events {
        parser: Parser::new_from_str(text),
        line: 1,
    };
    let mut document = None;
    loop {
        match events.next()? {
            Event::StreamEnd => break,
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            _ if document.is_some() => {
                return Err(ParseError::new(
                    events.line,
                    "a second document in the file",
                ));
            }
            event => document = Some(events.node(event, 0)?),
        }
    }
    Ok(document.unwrap_or(Node {
        line: 1,
        kind: Kind::Null,
    }))
}

struct Events<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    line: usize,
}

impl<'a> Events<'a> {
    fn next(&mut self) -> Result<Event<'a>, ParseError> {
        match self.parser.next() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(e)) => Err(ParseError::new(e.marker().line(), e.info())),
            None => Ok(Event::StreamEnd),
        }
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Node, ParseError> {
        let line = self.line;
        if depth > MAX_DEPTH {
            return Err(ParseError::new(line, "nested too deeply"));
        }
        let kind = match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) if matches!(&*text, "" | "~" | "null") => {
                Kind::Null
            }
            Event::Scalar(text, ..) => Kind::Scalar(text.into_owned()),
            Event::SequenceStart(..) => Kind::List(self.list(depth)?),
            Event::MappingStart(..) => Kind::Map(self.map(depth)?),
            Event::Alias(_) => {
                return Err(ParseError::new(
                    line,
                    "aliases are not supported; write the value out",
                ));
            }
            _ => return Err(ParseError::new(line, "a value is missing")),
        };
        Ok(Node { line, kind })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, ParseError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(items),
                event => items.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<(At<String>, Node)>, ParseError> {
        let mut entries: Vec<(At<String>, Node)> = Vec::new();
        loop {
            let key = match self.next()? {
                Event::MappingEnd => return Ok(entries),
                Event::Scalar(text, ..) => At {
                    line: self.line,
                    value: text.into_owned(),
                },
                _ => return Err(ParseError::new(self.line, "a key must be a word")),
            };
            if entries.iter().any(|(known, _)| known.value == key.value) {
                return Err(ParseError::new(
                    key.line,
                    format!("key '{}' is there twice", key.value),
                ));
            }
            let event = self.next()?;
            entries.push((key, self.node(event, depth + 1)?));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_keep_their_text() {
        let node = read("a: 13.10\nb: [x, 'null']\nc:\n").unwrap();
        let Kind::Map(entries) = node.kind else {
            panic!("not a map")
        };
        assert_eq!(entries[0].1.kind, Kind::Scalar("13.10".into()));
        assert_eq!(entries[1].0.line, 2);
        let Kind::List(items) = &entries[1].1.kind else {
            panic!("not a list")
        };
        assert_eq!(items[1].kind, Kind::Scalar("null".into()));
        assert_eq!(entries[2].1.kind, Kind::Null);
    }

    #[test]
    fn json_is_read_with_lines() {
        let node = read("{\n\t\"ref\": \"a/b\",\n\t\"units\": [\"x.service\"]\n}\n").unwrap();
        let Kind::Map(entries) = node.kind else {
            panic!("not a map")
        };
        assert_eq!(
            entries[1].0,
            At {
                line: 3,
                value: "units".into()
            }
        );
    }

    #[test]
    fn bad_texts_name_their_line() {
        let deep = "[".repeat(40);
        let table: &[(&str, usize, &str)] = &[
            ("a: 1\na: 2\n", 2, "twice"),
            ("a: &x 1\nb: *x\n", 2, "aliases"),
            ("a: 1\n---\nb: 2\n", 3, "second document"),
            ("a: [1\n", 2, ""),
            (&deep, 1, "deeply"),
        ];
        for (text, line, part) in table {
            let error = read(text).unwrap_err();
            assert!(
                error.line == *line && error.message.contains(part),
                "{text:?}: {error}"
            );
        }
    }
}
