//! `${variable}`, in the few values where rpm-ostree fills it in: packages, repositories and scripts have dollars of
//! their own.

use super::condition::Variables;
use super::document::{Kind, Node, Parsed};
use super::fragment::Values;

const TEXTS: [&str; 3] = ["ref", "automatic-version-prefix", "mutate-os-release"];
/// Only their values that are texts.
const MAPS: [&str; 2] = ["metadata", "add-commit-metadata"];

pub fn fill_in(values: &mut Values, variables: &Variables) -> Parsed<()> {
    for name in TEXTS {
        if let Some(node) = values.get_mut(name) {
            fill_in_node(name, node, variables)?;
        }
    }
    for name in MAPS {
        if let Some(Node {
            kind: Kind::Map(entries),
            ..
        }) = values.get_mut(name)
        {
            let mut entries = entries.iter_mut();
            entries.try_for_each(|(_, node)| fill_in_node(name, node, variables))?;
        }
    }
    Ok(())
}

fn fill_in_node(key: &str, node: &mut Node, variables: &Variables) -> Parsed<()> {
    let (Kind::Plain(text) | Kind::Quoted(text)) = &node.kind else {
        return Ok(());
    };
    if let Some(text) = filled(text, variables).map_err(|e| node.error(format!("{key}: {e}")))? {
        node.kind = Kind::Quoted(text);
    }
    Ok(())
}

/// None where there is nothing to fill in.
fn filled(text: &str, variables: &Variables) -> Result<Option<String>, String> {
    let mut pieces = text.split("${");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    let mut any = false;
    for piece in pieces {
        any = true;
        let (name, rest) = piece
            .split_once('}')
            .ok_or_else(|| format!("a brace is missing in '{text}'"))?;
        let value = variables.get(name).ok_or_else(|| {
            let known: Vec<_> = variables
                .keys()
                .map(|name| format!("${{{name}}}"))
                .collect();
            format!("unknown variable in '{text}' (known: {})", known.join(", "))
        })?;
        out.push_str(&value.to_string());
        out.push_str(rest);
    }
    Ok(any.then_some(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::treefile::condition::Value;

    #[test]
    fn variables_are_filled_in() {
        let variables = Variables::from([
            ("a".to_owned(), Value::Number(13)),
            ("stream".to_owned(), Value::Text("next".to_owned())),
        ]);
        let filled = |text: &str| filled(text, &variables);
        assert_eq!(filled("plain $a"), Ok(None));
        assert_eq!(filled("x/${a}/${stream}"), Ok(Some("x/13/next".to_owned())));
        assert!(
            filled("${b}")
                .unwrap_err()
                .contains("known: ${a}, ${stream}")
        );
        assert!(filled("${a").unwrap_err().contains("brace"));
    }
}
