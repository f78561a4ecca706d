//! One treefile before anything is merged: text to keys whose values have the shape they must have. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use super::condition::{Condition, RESERVED};
use super::document::{self, At, Kind, Node, ParseError, Parsed};
use super::schema::{self, Key, NAMESPACE, Shape};

/// Values by the whole names of their keys.
pub type Values = BTreeMap<&'static str, Node>;

/// The keys of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragment {
    pub values: Values,
    /// Of `include` and `arch-include`, in this order.
    pub includes: Vec<At<String>>,
    pub conditional: Vec<Conditional>,
}

/// All of the conditions must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditional {
    pub conditions: Vec<At<Condition>>,
    pub then: Then,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    Files(Vec<At<String>>),
    /// Written in the place of a file's name.
    Inline(Values),
}

/// What somebody meant who wrote a key that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownKeys {
    /// A mistake: YAML.
    Refused,
    /// Something for another program: JSON, as in rpm-ostree.
    Ignored,
}

/// Parses the text of a treefile, the `file`th that is read, for an architecture.
pub fn parse(text: &str, file: usize, basearch: &str, others: UnknownKeys) -> Parsed<Fragment> {
    let document = document::read(text, file)?;
    keys(&document, basearch, others)
}

fn keys(document: &Node, basearch: &str, others: UnknownKeys) -> Parsed<Fragment> {
    let mut fragment = Fragment::default();
    for (name, node) in document.entries()? {
        match name.value.as_str() {
            "include" => {
                let files = texts(node)?;
                fragment.includes.splice(0..0, files);
            }
            "arch-include" => fragment.includes.extend(of_arch(node, basearch)?),
            "conditional-include" => {
                for entry in node.items()? {
                    fragment.conditional.push(conditional(entry, basearch)?);
                }
            }
            NAMESPACE => {
                for (inner, node) in node.entries()? {
                    let key = schema::find(&format!("{NAMESPACE}.{}", inner.value));
                    let unknown =
                        || inner.error(schema::unknown(&inner.value, &schema::edge_names()));
                    put(&mut fragment.values, key.ok_or_else(unknown)?, inner, node)?;
                }
            }
            other => match (schema::find(other), other.strip_prefix("packages-")) {
                (Some(key), _) if !key.name.contains('.') => {
                    put(&mut fragment.values, key, name, node)?;
                }
                (_, Some(arch)) => {
                    let packages = of_one_arch(name, arch, node)?;
                    if arch == basearch {
                        add_packages(&mut fragment.values, packages)?;
                    }
                }
                _ if others == UnknownKeys::Ignored => {}
                _ => return Err(name.error(schema::unknown(other, &schema::top_names()))),
            },
        }
    }
    implied(document, &mut fragment.values);
    Ok(fragment)
}

fn put(values: &mut Values, key: &'static Key, name: &At<String>, node: &Node) -> Parsed<()> {
    if node.kind == Kind::Null {
        return Ok(());
    }
    let shaped = shaped(key, node)?;
    if key.shape == Shape::Packages {
        return add_packages(values, shaped);
    }
    if values.insert(key.name, shaped).is_some() {
        let alias = key.alias.unwrap_or(key.name);
        return Err(name.error(format!(
            "'{}' and '{alias}' are one key: write one of them",
            key.name
        )));
    }
    Ok(())
}

/// `packages` and `bootstrap_packages` are one set, as are those of the architecture.
fn add_packages(values: &mut Values, more: Node) -> Parsed<()> {
    let mut all = more.items()?.to_vec();
    let line = more.clone();
    if let Some(old) = values.remove("packages") {
        all.splice(0..0, old.items()?.to_vec());
    }
    values.insert("packages", line.with(Kind::List(once(all))));
    Ok(())
}

/// What an edition or a container says of keys that are not there.
fn implied(document: &Node, values: &mut Values) {
    let says = |values: &Values, key: &str, text: &str| {
        values.get(key).is_some_and(|node| node.text() == Ok(text))
    };
    let plain = |text: &str| document.with(Kind::Plain(text.to_owned()));
    if says(values, "container", "true") {
        for (key, value) in [
            ("boot-location", "modules"),
            ("selinux", "false"),
            ("tmp-is-dir", "true"),
            ("preserve-passwd", "false"),
        ] {
            values.insert(key, plain(value));
        }
    }
    if says(values, "edition", "2024") {
        for (key, value) in [("boot-location", "modules"), ("tmp-is-dir", "true")] {
            values.entry(key).or_insert_with(|| plain(value));
        }
    }
}

/// The value in its canonical form, or why it has another shape than the key's.
fn shaped(key: &Key, node: &Node) -> Parsed<Node> {
    match key.shape {
        Shape::Text | Shape::Version => node.text().map(drop)?,
        Shape::Truth => match &node.kind {
            Kind::Plain(text) if text == "true" || text == "false" => {}
            _ => return Err(node.error(format!("{} is true or false", key.name))),
        },
        Shape::Number => {
            if node.text()?.parse::<u64>().is_err() {
                return Err(node.error(format!("{} is a number", key.name)));
            }
        }
        Shape::Choice(words) => {
            let text = node.text()?;
            if !words.contains(&text) {
                return Err(node.error(format!(
                    "{} is one of {}, not '{text}'",
                    key.name,
                    words.join(", ")
                )));
            }
        }
        Shape::Object | Shape::Map => {
            let entries = node.entries()?;
            for (name, _) in entries.iter().filter(|_| key.name == "variables") {
                if RESERVED.contains(&name.value.as_str()) {
                    return Err(name.error(format!(
                        "the variable '{}' is filled in by edge-build",
                        name.value
                    )));
                }
            }
        }
        Shape::Texts | Shape::Set => {
            let items = node.items()?;
            items.iter().try_for_each(|item| item.text().map(drop))?;
            if key.shape == Shape::Set {
                return Ok(node.with(Kind::List(once(items.to_vec()))));
            }
        }
        Shape::Words => return words(node),
        Shape::Pairs => {
            for item in node.items()? {
                if item.items()?.len() != 2 {
                    return Err(item.error(format!("{} takes pairs: [source, target]", key.name)));
                }
            }
        }
        Shape::Lists => node
            .items()?
            .iter()
            .try_for_each(|item| item.items().map(drop))?,
        Shape::Objects => node
            .items()?
            .iter()
            .try_for_each(|item| item.entries().map(drop))?,
        Shape::Packages => return packages(node),
        Shape::Include => {}
    }
    Ok(node.clone())
}

fn words(node: &Node) -> Parsed<Node> {
    let mut all = Vec::new();
    for item in node.items()? {
        let words = item.text()?.split_whitespace();
        all.extend(words.map(|word| item.with(Kind::Plain(word.to_owned()))));
    }
    Ok(node.with(Kind::List(all)))
}

/// Names between white space, and expressions with white space between single quotes.
fn packages(node: &Node) -> Parsed<Node> {
    let mut all = Vec::new();
    for item in node.items()? {
        let text = item.text()?;
        let mut quoted = false;
        let parts: Vec<&str> = text.split('\'').collect();
        if parts.len() % 2 == 0 {
            return Err(item.error(format!("a quote is missing in {text}")));
        }
        for part in parts {
            let names: Vec<&str> = match quoted {
                true => vec![part],
                false => part.split_whitespace().collect(),
            };
            all.extend(
                names
                    .into_iter()
                    .map(|name| item.with(Kind::Quoted(name.to_owned()))),
            );
            quoted = !quoted;
        }
    }
    Ok(node.with(Kind::List(once(all))))
}

fn of_one_arch(name: &At<String>, arch: &str, node: &Node) -> Parsed<Node> {
    known_arch(name, arch)?;
    packages(node)
}

fn known_arch(name: &At<String>, arch: &str) -> Parsed<()> {
    match schema::ARCHITECTURES.contains(&arch) {
        true => Ok(()),
        false => Err(name.error(format!(
            "unknown architecture '{arch}' in key '{}' (known: {})",
            name.value,
            schema::ARCHITECTURES.join(", ")
        ))),
    }
}

fn of_arch(node: &Node, basearch: &str) -> Parsed<Vec<At<String>>> {
    let mut files = Vec::new();
    for (name, node) in node.entries()? {
        known_arch(name, &name.value)?;
        let found = texts(node)?;
        if name.value == basearch {
            files.extend(found);
        }
    }
    Ok(files)
}

fn conditional(entry: &Node, basearch: &str) -> Parsed<Conditional> {
    let (mut conditions, mut then) = (None, None);
    for (name, node) in entry.entries()? {
        match name.value.as_str() {
            "if" => {
                let read = |item: &Node| {
                    let condition = Condition::parse(item.text()?).map_err(|e| item.error(e))?;
                    Ok(item.at(condition))
                };
                let read: Parsed<Vec<_>> = node.one_or_items()?.iter().map(read).collect();
                conditions = Some(read?);
            }
            "include" => then = Some(included(node, basearch)?),
            other => return Err(name.error(schema::unknown(other, &["if", "include"]))),
        }
    }
    match (conditions, then) {
        (Some(conditions), Some(then)) => Ok(Conditional { conditions, then }),
        _ => Err(entry.error("a conditional include needs 'if' and 'include'")),
    }
}

fn included(node: &Node, basearch: &str) -> Parsed<Then> {
    if !matches!(node.kind, Kind::Map(_)) {
        return Ok(Then::Files(texts(node)?));
    }
    let inline = keys(node, basearch, UnknownKeys::Refused)?;
    let outside = ["add-files", "postprocess-script", "repos"];
    let of_files = inline.values.iter().find(|(key, _)| outside.contains(*key));
    if let Some((key, node)) = of_files {
        return Err(node.error(format!(
            "'{key}' names files: it must stand in a file of its own"
        )));
    }
    if !inline.includes.is_empty() || !inline.conditional.is_empty() {
        return Err(node.error("what is included here cannot include others"));
    }
    Ok(Then::Inline(inline.values))
}

fn texts(node: &Node) -> Parsed<Vec<At<String>>> {
    let items = node.one_or_items()?.iter();
    items
        .map(|item| Ok(item.at(item.text()?.to_owned())))
        .collect()
}

/// The first of equal texts.
fn once(items: Vec<Node>) -> Vec<Node> {
    let mut seen = BTreeSet::new();
    let new = |item: &Node| item.text().is_ok_and(|text| seen.insert(text.to_owned()));
    let mut new = new;
    items.into_iter().filter(|item| new(item)).collect()
}

/// `over` on top of `included`: as in rpm-ostree its single values win, lists of what is included come first.
pub fn merge(over: &mut Values, included: Values) -> Result<(), ParseError> {
    for (name, node) in included {
        let Some(top) = over.remove(name) else {
            over.insert(name, node);
            continue;
        };
        let merged = match schema::find(name).map(|key| key.shape) {
            Some(Shape::Texts | Shape::Words | Shape::Pairs | Shape::Lists | Shape::Objects) => {
                top.with(Kind::List([node.items()?, top.items()?].concat()))
            }
            Some(Shape::Set | Shape::Packages) => {
                top.with(Kind::List(once([node.items()?, top.items()?].concat())))
            }
            Some(Shape::Map) => {
                let mut entries = top.entries()?.to_vec();
                let is_new = |name: &str| {
                    top.entries()
                        .is_ok_and(|t| t.iter().all(|(k, _)| k.value != name))
                };
                let new = node.entries()?.iter().filter(|(key, _)| is_new(&key.value));
                entries.extend(new.cloned());
                top.with(Kind::Map(entries))
            }
            _ => top,
        };
        over.insert(name, merged);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
