//! What a treefile and all that it includes say together, as JSON.

use serde_json::{Map, Value};

use super::document::{Kind, Node};
use super::fragment::Values;
use super::schema::{self, NAMESPACE, Shape};

/// One object, ours below `edge`; sorted.
pub fn json(values: &Values) -> Value {
    let (mut top, mut edge) = (Map::new(), Map::new());
    for (name, node) in values {
        let value = value(schema::find(name).map(|key| key.shape), node);
        match name.split_once('.') {
            Some((_, inner)) => edge.insert(inner.to_owned(), value),
            None => top.insert((*name).to_owned(), value),
        };
    }
    if !edge.is_empty() {
        top.insert(NAMESPACE.to_owned(), Value::Object(edge));
    }
    Value::Object(top)
}

fn value(shape: Option<Shape>, node: &Node) -> Value {
    match shape {
        Some(Shape::Set | Shape::Packages) => {
            let mut names: Vec<&str> = node
                .items()
                .unwrap_or_default()
                .iter()
                .filter_map(|item| item.text().ok())
                .collect();
            names.sort_unstable();
            names.into()
        }
        // Packages and texts that look like numbers are none.
        Some(Shape::Text | Shape::Choice(_)) => node.text().unwrap_or_default().into(),
        Some(Shape::Texts | Shape::Words | Shape::Pairs | Shape::Lists) => as_texts(node),
        _ => any(node),
    }
}

fn as_texts(node: &Node) -> Value {
    match &node.kind {
        Kind::List(items) => items.iter().map(as_texts).collect(),
        _ => node.text().unwrap_or_default().into(),
    }
}

fn any(node: &Node) -> Value {
    match &node.kind {
        Kind::Null => Value::Null,
        // A plain scalar that is JSON (a number, true, false) is that.
        Kind::Plain(text) => match serde_json::from_str(text) {
            Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
            _ => text.as_str().into(),
        },
        Kind::Quoted(text) => text.as_str().into(),
        Kind::List(items) => items.iter().map(any).collect(),
        Kind::Map(entries) => Value::Object(
            entries
                .iter()
                .map(|(key, node)| (key.value.clone(), any(node)))
                .collect(),
        ),
    }
}
