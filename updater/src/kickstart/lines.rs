//! Lines to commands and sections, with what they include.

use super::{At, Mistake, words};

/// Files within files: deeper than any fleet's, shallower than the stack.
const MAX_DEPTH: usize = 8;
/// Files in all.
const MAX_FILES: usize = 64;

/// Gives the text of a file to include. `None`: it is not there yet, and is left out.
pub type Includer<'a> = dyn FnMut(&Wanted<'_>) -> Result<Option<String>, String> + 'a;

pub struct Wanted<'a> {
    /// A URL or a path, as the file that names it says; a relative one goes from that file.
    pub target: &'a str,
    /// `%pre` where the line is in such a section; empty among commands.
    pub section: &'a str,
}

#[derive(Debug, Default)]
pub struct Lines {
    pub items: Vec<Item>,
    pub mistakes: Vec<Mistake>,
    /// In the order in which they were opened.
    pub files: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    Command(Line),
    Section { header: Line, body: String },
}

/// At least one word.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    pub at: At,
    /// The command, or the section with its `%`.
    pub name: String,
    pub words: Vec<String>,
}

pub fn read(name: &str, text: &str, include: &mut Includer) -> Lines {
    let mut reader = Reader {
        include,
        lines: Lines::default(),
        open: Vec::new(),
    };
    reader.file(name, text);
    reader.lines
}

/// Whether this begins a section that kickstart knows, supported here or not.
fn is_section(word: &str) -> bool {
    const KNOWN: [&str; 9] = [
        "%addon",
        "%anaconda",
        "%certificate",
        "%onerror",
        "%packages",
        "%post",
        "%pre",
        "%pre-install",
        "%traceback",
    ];
    KNOWN.contains(&word)
}

struct Reader<'a, 'b> {
    include: &'a mut Includer<'b>,
    lines: Lines,
    /// The files that are being read, the innermost last.
    open: Vec<String>,
}

/// The lines of a file, with their numbers and ends.
type Numbered<'t> = std::iter::Zip<std::ops::RangeFrom<usize>, std::str::SplitInclusive<'t, char>>;

impl Reader<'_, '_> {
    fn file(&mut self, name: &str, text: &str) {
        self.open.push(name.to_owned());
        self.lines.files.push(name.to_owned());
        let mut lines: Numbered = (1..).zip(text.split_inclusive('\n'));
        while let Some((number, line)) = lines.next() {
            let at = self.at(number);
            match words::split(line.trim_end_matches(['\n', '\r'])) {
                Err(message) => self.mistake(at, message),
                Ok(words) => self.line(at, words, &mut lines),
            }
        }
        self.open.pop();
    }

    fn line(&mut self, at: At, words: Vec<String>, rest: &mut Numbered) {
        let mut words = words.into_iter();
        let Some(name) = words.next() else { return };
        let line = Line {
            at,
            name,
            words: words.collect(),
        };
        match line.name.as_str() {
            "%include" => {
                if let Some((name, text)) = self.included(line.at, line.words, "") {
                    self.file(&name, &text);
                }
            }
            "%ksappend" => self.mistake(line.at, "%ksappend is not read: use %include"),
            "%end" => self.mistake(line.at, "%end without a section"),
            name if name.starts_with('%') => {
                let body = self.body(&line, rest);
                let header = line;
                self.lines.items.push(Item::Section { header, body });
            }
            _ => self.lines.items.push(Item::Command(line)),
        }
    }

    /// Up to `%end`. Other lines that begin with `%` are the script's own.
    fn body(&mut self, header: &Line, rest: &mut Numbered) -> String {
        let mut body = String::new();
        for (number, line) in rest {
            let first = line.split_whitespace().next().unwrap_or_default();
            match first {
                "%end" => return body,
                "%include" => body.push_str(&self.part_of_script(number, line, &header.name)),
                word if is_section(word) => break,
                _ => body.push_str(line),
            }
        }
        let message = format!("{} does not end with %end", header.name);
        self.mistake(header.at.clone(), message);
        body
    }

    fn part_of_script(&mut self, number: usize, line: &str, section: &str) -> String {
        let at = self.at(number);
        let included = match words::split(line.trim_end_matches(['\n', '\r'])) {
            Ok(words) => self.included(at, words.into_iter().skip(1).collect(), section),
            Err(message) => {
                self.mistake(at, message);
                None
            }
        };
        let Some((name, mut text)) = included else {
            return String::new();
        };
        self.lines.files.push(name.clone());
        for (number, line) in (1..).zip(text.lines()) {
            let first = line.split_whitespace().next().unwrap_or_default();
            if first == "%end" || first == "%include" || is_section(first) {
                let message = format!("{first} in a file that is part of a script");
                let file = name.clone();
                self.mistake(At { file, line: number }, message);
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text
    }

    /// The name and text of the file that a line includes; `None` after a mistake too.
    fn included(&mut self, at: At, words: Vec<String>, section: &str) -> Option<(String, String)> {
        let [target] = words.as_slice() else {
            self.mistake(at, "%include takes one file or URL");
            return None;
        };
        let target = beside(&at.file, target);
        match self.fetch(&target, section) {
            Ok(text) => text.map(|text| (target, text)),
            Err(message) => {
                self.mistake(at, message);
                None
            }
        }
    }

    fn fetch(&mut self, target: &str, section: &str) -> Result<Option<String>, String> {
        if self.open.iter().any(|name| name == target) {
            return Err(format!("{target} includes itself"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(format!("files are included more than {MAX_DEPTH} deep"));
        }
        if self.lines.files.len() >= MAX_FILES {
            return Err(format!("more than {MAX_FILES} files are included"));
        }
        (self.include)(&Wanted { target, section })
            .map_err(|reason| format!("including {target}: {reason}"))
    }

    fn at(&self, line: usize) -> At {
        let file = self.open.last().cloned().unwrap_or_default();
        At { file, line }
    }

    fn mistake(&mut self, at: At, message: impl Into<String>) {
        let message = message.into();
        self.lines.mistakes.push(Mistake { at, message });
    }
}

/// Where a file that `from` names lies.
fn beside(from: &str, target: &str) -> String {
    if target.starts_with('/') || target.contains("://") || target.starts_with("hd:") {
        return target.to_owned();
    }
    // What a server is asked behind '?' is no folder.
    let from = match from.contains("://") {
        true => from.split(['?', '#']).next().unwrap_or_default(),
        false => from,
    };
    match from.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{target}"),
        None => target.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_files(files: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let mut include = |wanted: &Wanted| {
            let found = files.iter().find(|(name, _)| *name == wanted.target);
            found
                .map(|(_, text)| Some((*text).to_owned()))
                .ok_or_else(|| "no such file".to_owned())
        };
        let lines = read(files[0].0, files[0].1, &mut include);
        let shown = lines.items.iter().map(|item| match item {
            Item::Command(line) => format!("{} {}", line.at, line.name),
            Item::Section { header, body } => format!("{} {} {body:?}", header.at, header.name),
        });
        (
            shown.collect(),
            lines.mistakes.iter().map(Mistake::to_string).collect(),
        )
    }

    #[test]
    fn included_lines_stand_in_the_place_of_the_line() {
        let (items, mistakes) = read_files(&[
            (
                "http://h/a/ks.cfg",
                "lang x\n%include part.cfg\n%post --log=/x\necho\n%include /s\n%endless\n%end\nreboot\n",
            ),
            (
                "http://h/a/part.cfg",
                "# none\n\npart /\n%include ../b/more.cfg",
            ),
            ("http://h/a/../b/more.cfg", "zerombr"),
            ("/s", "true"),
        ]);
        assert_eq!(mistakes, [""; 0]);
        assert_eq!(
            items,
            [
                "http://h/a/ks.cfg:1 lang",
                "http://h/a/part.cfg:3 part",
                "http://h/a/../b/more.cfg:1 zerombr",
                "http://h/a/ks.cfg:3 %post \"echo\\ntrue\\n%endless\\n\"",
                "http://h/a/ks.cfg:8 reboot",
            ]
        );
    }

    #[test]
    fn a_file_lies_beside_the_one_that_names_it() {
        let table = [
            ("ks.cfg", "a", "a"),
            ("/x/ks.cfg", "a/b", "/x/a/b"),
            ("/x/ks.cfg", "/a", "/a"),
            ("http://h/x/ks", "a", "http://h/x/a"),
            ("http://h/x/ks?mac=1&of=a/b", "a", "http://h/x/a"),
            ("http://h/x/ks", "https://i/a", "https://i/a"),
            ("hd:LABEL=E:/x/ks", "a", "hd:LABEL=E:/x/a"),
        ];
        for (from, target, expected) in table {
            assert_eq!(beside(from, target), expected, "{from} {target}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_where_it_stands() {
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
        let table: &[Case] = &[
            (
                &[("k", "%post\nx\n")],
                &["k:1: %post does not end with %end"],
            ),
            (
                &[("k", "%pre\nx\n%post\ny\n%end\n")],
                &[
                    "k:1: %pre does not end with %end",
                    "k:5: %end without a section",
                ],
            ),
            (
                &[("k", "%include\n")],
                &["k:1: %include takes one file or URL"],
            ),
            (
                &[("k", "\n%include none\n")],
                &["k:2: including none: no such file"],
            ),
            (&[("k", "%include k\n")], &["k:1: k includes itself"]),
            (
                &[
                    ("k", "%include a\n"),
                    ("a", "%include b\n"),
                    ("b", "%include a\n"),
                ],
                &["b:1: a includes itself"],
            ),
            (
                &[("k", "%post\n%include a\n%end\n"), ("a", "x\n%end\n")],
                &["a:2: %end in a file that is part of a script"],
            ),
            (
                &[("k", "%ksappend x\n")],
                &["k:1: %ksappend is not read: use %include"],
            ),
            (
                &[("k", "lang 'x\nlang \"\n")],
                &["k:1: a ' without its end", "k:2: a \" without its end"],
            ),
        ];
        for (files, expected) in table {
            assert_eq!(read_files(files).1, *expected, "{files:?}");
        }
    }

    #[test]
    fn files_that_include_others_without_end_are_stopped() {
        let mut deep = |wanted: &Wanted| Ok(Some(format!("%include {}x\n", wanted.target)));
        let lines = read("k", "%include a\n", &mut deep);
        let messages: Vec<&str> = lines.mistakes.iter().map(|m| m.message.as_str()).collect();
        assert_eq!(messages, ["files are included more than 8 deep"]);
        let mut wide = |_: &Wanted| Ok(Some("lang x\n".to_owned()));
        let lines = read("k", &"%include a\n".repeat(MAX_FILES), &mut wide);
        assert_eq!(lines.items.len(), MAX_FILES - 1);
        assert_eq!(lines.mistakes.len(), 1);
    }
}
