//! `check-passwd`, `check-groups` and their like: which numbers users and groups must have.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::document::{Node, Parsed};
use super::schema;

/// What the numbers of users or groups are compared with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Check {
    None,
    /// The commit that the ref has now.
    #[default]
    Previous,
    /// A file of the form of passwd or group.
    File(PathBuf),
    /// Numbers by name; of users perhaps that of their group too.
    Data(BTreeMap<String, (u32, Option<u32>)>),
}

/// Whether entries may have a second number, that of a user's group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    Users,
    Groups,
}

pub fn check(node: &Node, of: Of, file: impl Fn(&Node) -> Parsed<PathBuf>) -> Parsed<Check> {
    let (mut kind, mut filename, mut entries) = (None, None, None);
    for (key, node) in node.entries()? {
        match key.value.as_str() {
            "type" => kind = Some(node),
            "filename" => filename = Some(node),
            "entries" => entries = Some(node),
            other => {
                return Err(key.error(schema::unknown(other, &["type", "filename", "entries"])));
            }
        }
    }
    let kind = kind.ok_or_else(|| node.error("the key 'type' is missing"))?;
    match (kind.text()?, filename, entries) {
        ("none", None, None) => Ok(Check::None),
        ("previous", None, None) => Ok(Check::Previous),
        ("file", Some(name), None) => Ok(Check::File(file(name)?)),
        ("data", None, Some(entries)) => {
            let entries = entries.entries()?.iter();
            let numbers = entries.map(|(name, node)| Ok((name.value.clone(), numbers(node, of)?)));
            Ok(Check::Data(numbers.collect::<Parsed<_>>()?))
        }
        ("none" | "previous" | "file" | "data", _, _) => Err(node.error(
            "type 'file' takes 'filename', type 'data' takes 'entries', the others take nothing",
        )),
        (other, _, _) => Err(kind.error(format!(
            "'{other}' is not a type: write none, previous, file or data"
        ))),
    }
}

fn numbers(node: &Node, of: Of) -> Parsed<(u32, Option<u32>)> {
    let number = |node: &Node| {
        let number = node.text()?.parse();
        number.map_err(|_| node.error("a number is expected here"))
    };
    match (node.one_or_items()?, of) {
        ([id], _) => Ok((number(id)?, None)),
        ([id, group], Of::Users) => Ok((number(id)?, Some(number(group)?))),
        (_, Of::Users) => Err(node.error("a number is expected here, or a user's and a group's")),
        (_, Of::Groups) => Err(node.error("a number is expected here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::treefile::document;

    #[test]
    fn checks() {
        let read = |text: &str, of: Of| {
            let node = document::read(text, 0).unwrap();
            check(&node, of, |n| Ok(n.text()?.into())).map_err(|e| e.message)
        };
        let users = |text: &str| read(text, Of::Users);
        assert_eq!(users("type: none"), Ok(Check::None));
        assert_eq!(users("type: previous"), Ok(Check::Previous));
        assert_eq!(
            users("{type: file, filename: f}"),
            Ok(Check::File("f".into()))
        );
        let data = [("a", (1, None)), ("b", (3, Some(4))), ("c", (5, None))];
        let data = data.map(|(name, ids)| (name.to_owned(), ids));
        assert_eq!(
            users("{type: data, entries: {a: 1, b: [3, 4], c: [5]}}"),
            Ok(Check::Data(data.into()))
        );
        for (text, part) in [
            ("{}", "'type' is missing"),
            ("type: all", "'all' is not a type"),
            ("type: file", "takes 'filename'"),
            ("{type: none, filename: f}", "takes 'filename'"),
            ("{type: data, entries: {a: x}}", "a number is expected"),
            (
                "{type: data, entries: {a: [1, 2, 3]}}",
                "a number is expected",
            ),
            ("{type: data, entrys: {}}", "did you mean 'entries'"),
        ] {
            let error = users(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(read("{type: data, entries: {a: [1, 2]}}", Of::Groups).is_err());
    }
}
