//! The options and words behind a command.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// What may stand behind a command.
pub struct Grammar {
    pub options: &'static [(&'static str, Takes)],
    /// How many words beside options: none, one, or one if it is there.
    pub words: Words,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    Nothing,
    Value,
    /// May be given several times.
    Values,
    /// Kickstart knows it; here it is an error that says why, and what to do.
    Refused(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    None,
    /// What it is, for messages.
    One(&'static str),
    Perhaps,
}

/// Options by name, words in their order.
#[derive(Debug, Default)]
pub struct Args {
    options: BTreeMap<&'static str, Vec<String>>,
    words: Vec<String>,
}

impl Args {
    pub fn read(words: &[String], grammar: &Grammar) -> Result<Self, String> {
        let mut args = Self::default();
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            if !word.starts_with('-') {
                args.words.push(word.clone());
                continue;
            }
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            let (name, takes) = known(name, grammar)?;
            let value = match (takes, value) {
                (Takes::Refused(reason), _) => return Err(format!("{name}: {reason}")),
                (Takes::Nothing, None) => String::new(),
                (Takes::Nothing, Some(_)) => return Err(format!("{name} takes no value")),
                (_, Some(value)) => value,
                (_, None) => match rest.next() {
                    Some(value) if !value.starts_with('-') => value.clone(),
                    _ => return Err(format!("{name} takes a value")),
                },
            };
            let values = args.options.entry(name).or_default();
            if !values.is_empty() && takes != Takes::Values {
                return Err(format!("{name} is there twice"));
            }
            values.push(value);
        }
        args.check_words(grammar.words)?;
        Ok(args)
    }

    pub fn has(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.options.keys().copied()
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.options.get(name)?.first().map(String::as_str)
    }

    pub fn parsed<T>(&self, name: &str) -> Result<Option<T>, String>
    where
        T: FromStr,
        T::Err: Display,
    {
        let parse = |value: &str| parse(name, value);
        self.value(name).map(parse).transpose()
    }

    /// The parts between commas, of each time that the option is given.
    pub fn list<T>(&self, name: &str) -> Result<Vec<T>, String>
    where
        T: FromStr,
        T::Err: Display,
    {
        let values = self.options.get(name).into_iter().flatten();
        let parts = values.flat_map(|value| value.split(',')).map(str::trim);
        parts.map(|part| parse(name, part)).collect()
    }

    pub fn word(&self) -> Option<&str> {
        self.words.first().map(String::as_str)
    }

    /// Refuses all but one of the options.
    pub fn at_most_one(&self, names: &[&'static str]) -> Result<Option<&'static str>, String> {
        let mut given = names.iter().filter(|name| self.has(name));
        match (given.next(), given.next()) {
            (Some(one), Some(other)) => Err(format!("{one} and {other} exclude each other")),
            (one, _) => Ok(one.copied()),
        }
    }

    fn check_words(&self, words: Words) -> Result<(), String> {
        let most = if words == Words::None { 0 } else { 1 };
        match (words, self.words.get(most)) {
            (_, Some(extra)) => Err(format!("'{extra}' is one word too many")),
            (Words::One(what), None) if self.words.is_empty() => Err(format!("{what} is missing")),
            _ => Ok(()),
        }
    }
}

fn parse<T>(name: &str, value: &str) -> Result<T, String>
where
    T: FromStr,
    T::Err: Display,
{
    value.parse().map_err(|error: T::Err| {
        let error = error.to_string();
        match value {
            "" => format!("{name}: a value is missing"),
            _ if error.contains(value) => format!("{name}: {error}"),
            _ => format!("{name}: '{value}': {error}"),
        }
    })
}

fn known(name: &str, grammar: &Grammar) -> Result<(&'static str, Takes), String> {
    let found = grammar.options.iter().find(|(known, _)| *known == name);
    found.copied().ok_or_else(|| {
        let usable = |takes: &Takes| !matches!(takes, Takes::Refused(_));
        let names: Vec<&str> = grammar
            .options
            .iter()
            .filter(|(_, takes)| usable(takes))
            .map(|(name, _)| *name)
            .collect();
        match names.as_slice() {
            [] => format!("unknown option {name}: there are none"),
            names => format!("unknown option {name}: there are {}", names.join(" ")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAMMAR: Grammar = Grammar {
        options: &[
            ("--all", Takes::Nothing),
            ("--size", Takes::Value),
            ("--port", Takes::Values),
            ("--lvm", Takes::Refused("there is no LVM")),
        ],
        words: Words::One("a mount point"),
    };

    fn read(line: &str) -> Result<Args, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Args::read(&words, &GRAMMAR)
    }

    #[test]
    fn options_and_words_in_any_order() {
        let args = read("--size 5 / --port=1,2 --all --port=3").unwrap();
        assert!(args.has("--all"));
        assert_eq!(args.word(), Some("/"));
        assert_eq!(args.parsed::<u64>("--size"), Ok(Some(5)));
        assert_eq!(args.list::<u16>("--port"), Ok(vec![1, 2, 3]));
        assert_eq!(args.list::<u16>("--size"), Ok(vec![5]));
    }

    #[test]
    fn mistakes_name_the_option() {
        let table = [
            (
                "/ --al",
                "unknown option --al: there are --all --size --port",
            ),
            ("/ --lvm", "--lvm: there is no LVM"),
            ("/ --lvm=x", "--lvm: there is no LVM"),
            ("/ --all=x", "--all takes no value"),
            ("/ --size", "--size takes a value"),
            ("/ --size --all", "--size takes a value"),
            ("/ --size=1 --size=2", "--size is there twice"),
            ("--all", "a mount point is missing"),
            ("/ /", "'/' is one word too many"),
        ];
        for (line, expected) in table {
            assert_eq!(read(line).unwrap_err(), expected, "{line}");
        }
        let number = read("/ --size=x").unwrap().parsed::<u64>("--size");
        assert_eq!(
            number,
            Err("--size: 'x': invalid digit found in string".into())
        );
        let empty = read("/ --size=").unwrap().parsed::<u64>("--size");
        assert_eq!(empty, Err("--size: a value is missing".into()));
    }
}
