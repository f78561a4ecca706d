//! YAML (and JSON, which is YAML) as a tree of nodes that know their line. Scalars keep the text that
//! was written, so that `13.10` stays a version.

use saphyr_parser::{Event, Parser, ScalarStyle};

/// What is wrong, in which file and in which line of it, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {message}")]
pub struct ParseError {
    pub file: usize,
    pub line: usize,
    pub message: String,
}

pub type Parsed<T> = Result<T, ParseError>;

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    pub file: usize,
    pub line: usize,
    pub value: T,
}

impl<T> At<T> {
    pub fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError {
            file: self.file,
            line: self.line,
            message: message.into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Which of the files that were read, for those who merge several.
    pub file: usize,
    pub line: usize,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Null,
    /// Without quotes: a number or a truth value, if it looks like one.
    Plain(String),
    Quoted(String),
    List(Vec<Node>),
    /// In the order of the text, each key once.
    Map(Vec<(At<String>, Node)>),
}

impl Node {
    pub fn error(&self, message: impl Into<String>) -> ParseError {
        self.at(()).error(message)
    }

    /// A value from where this node is.
    pub fn at<T>(&self, value: T) -> At<T> {
        At {
            file: self.file,
            line: self.line,
            value,
        }
    }

    /// Another value in the place of this one.
    pub fn with(&self, kind: Kind) -> Node {
        Node {
            file: self.file,
            line: self.line,
            kind,
        }
    }

    pub fn entries(&self) -> Parsed<&[(At<String>, Node)]> {
        match &self.kind {
            Kind::Map(entries) => Ok(entries),
            Kind::Null => Ok(&[]),
            _ => Err(self.error("keys and values are expected here")),
        }
    }

    pub fn items(&self) -> Parsed<&[Node]> {
        match &self.kind {
            Kind::List(items) => Ok(items),
            Kind::Null => Ok(&[]),
            _ => Err(self.error("a list is expected here")),
        }
    }

    /// One text, or a list of them.
    pub fn one_or_items(&self) -> Parsed<&[Node]> {
        match &self.kind {
            Kind::Plain(_) | Kind::Quoted(_) => Ok(std::slice::from_ref(self)),
            _ => self.items(),
        }
    }

    pub fn text(&self) -> Parsed<&str> {
        match &self.kind {
            Kind::Plain(text) | Kind::Quoted(text) if !text.is_empty() => Ok(text),
            _ => Err(self.error("a text is expected here")),
        }
    }

    pub fn word(&self) -> Parsed<&str> {
        let text = self.text()?;
        match text.contains(char::is_whitespace) {
            true => Err(self.error(format!("'{text}' must be one word"))),
            false => Ok(text),
        }
    }
}

/// Folders of folders of lists: deeper than any treefile, shallower than the stack.
const MAX_DEPTH: usize = 16;

/// The one document of a text; an empty text is an empty map. Its nodes carry the number `file`.
pub fn read(text: &str, file: usize) -> Parsed<Node> {
    let mut events = Events {
        file,
        parser: Parser::new_from_str(text),
        line: 1,
    };
    let mut document = None;
    loop {
        match events.next()? {
            Event::StreamEnd => break,
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            _ if document.is_some() => {
                return Err(events.error("a second document in the file"));
            }
            event => document = Some(events.node(event, 0)?),
        }
    }
    Ok(document.unwrap_or(Node {
        file,
        line: 1,
        kind: Kind::Null,
    }))
}

struct Events<'a> {
    file: usize,
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    line: usize,
}

impl<'a> Events<'a> {
    fn next(&mut self) -> Parsed<Event<'a>> {
        match self.parser.next() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(e)) => {
                self.line = e.marker().line();
                Err(self.error(e.info()))
            }
            None => Ok(Event::StreamEnd),
        }
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError {
            file: self.file,
            line: self.line,
            message: message.into(),
        }
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Parsed<Node> {
        let line = self.line;
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        let kind = match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) if matches!(&*text, "" | "~" | "null") => {
                Kind::Null
            }
            Event::Scalar(text, ScalarStyle::Plain, ..) => Kind::Plain(text.into_owned()),
            Event::Scalar(text, ..) => Kind::Quoted(text.into_owned()),
            Event::SequenceStart(..) => Kind::List(self.list(depth)?),
            Event::MappingStart(..) => Kind::Map(self.map(depth)?),
            Event::Alias(_) => {
                return Err(self.error("aliases are not supported; write the value out"));
            }
            _ => return Err(self.error("a value is missing")),
        };
        let file = self.file;
        Ok(Node { file, line, kind })
    }

    fn list(&mut self, depth: usize) -> Parsed<Vec<Node>> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(items),
                event => items.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Parsed<Vec<(At<String>, Node)>> {
        let mut entries: Vec<(At<String>, Node)> = Vec::new();
        loop {
            let key = match self.next()? {
                Event::MappingEnd => return Ok(entries),
                Event::Scalar(text, ..) => At {
                    file: self.file,
                    line: self.line,
                    value: text.into_owned(),
                },
                _ => return Err(self.error("a key must be a word")),
            };
            if entries.iter().any(|(known, _)| known.value == key.value) {
                return Err(key.error(format!("key '{}' is there twice", key.value)));
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
        let node = read("a: 13.10\nb: [x, 'null']\nc:\n", 0).unwrap();
        let Kind::Map(entries) = node.kind else {
            panic!("not a map")
        };
        assert_eq!(entries[0].1.kind, Kind::Plain("13.10".into()));
        assert_eq!(entries[1].0.line, 2);
        let Kind::List(items) = &entries[1].1.kind else {
            panic!("not a list")
        };
        assert_eq!(items[1].kind, Kind::Quoted("null".into()));
        assert_eq!(entries[2].1.kind, Kind::Null);
    }

    #[test]
    fn json_is_read_with_lines() {
        let node = read(
            "{\n\t\"ref\": \"a/b\",\n\t\"units\": [\"x.service\"]\n}\n",
            0,
        )
        .unwrap();
        let Kind::Map(entries) = node.kind else {
            panic!("not a map")
        };
        assert_eq!(
            entries[1].0,
            At {
                file: 0,
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
            let error = read(text, 0).unwrap_err();
            assert!(
                error.line == *line && error.message.contains(part),
                "{text:?}: {error}"
            );
        }
    }
}
