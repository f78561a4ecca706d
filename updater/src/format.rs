//! How signed documents and stored state evolve: a `format` major, and `critical`, the names of
//! the fields that a reader must understand. All other unknown fields are ignored.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::refusal::Refusal;

/// What a reader of one kind of document understands.
pub struct Kind {
    /// As it appears in messages.
    pub what: &'static str,
    pub format: u64,
    pub fields: &'static [&'static str],
}

#[derive(Deserialize)]
struct Head {
    format: u64,
    #[serde(default)]
    critical: Vec<String>,
}

/// Checks `format` and `critical` before any other field is looked at.
pub fn parse<T: DeserializeOwned>(kind: &Kind, payload: &[u8]) -> Result<T, Refusal> {
    let head: Head = json(kind, payload)?;
    if head.format != kind.format {
        return Err(Refusal::UnsupportedFormat {
            what: kind.what,
            found: head.format,
            known: kind.format,
        });
    }
    for field in head.critical {
        if !kind.fields.contains(&field.as_str()) {
            let field = field.escape_default().take(80).collect();
            return Err(Refusal::UnknownCritical {
                what: kind.what,
                field,
            });
        }
    }
    json(kind, payload)
}

fn json<T: DeserializeOwned>(kind: &Kind, payload: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(payload).map_err(|e| Refusal::Malformed {
        what: kind.what,
        reason: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_decides_before_the_rest() {
        const KIND: Kind = Kind {
            what: "thing",
            format: 1,
            fields: &["size"],
        };
        #[derive(Deserialize)]
        struct Thing {
            size: u8,
        }
        let check = |text: &str, expected: Result<u8, &str>| {
            let found = parse::<Thing>(&KIND, text.as_bytes()).map(|t| t.size);
            let found = found.map_err(|e| e.to_string());
            match (&found, expected) {
                (Ok(a), Ok(b)) if *a == b => {}
                (Err(a), Err(b)) if a.contains(b) => {}
                _ => panic!("{text}: {found:?}, expected {expected:?}"),
            }
        };
        check(r#"{"format":1,"size":3,"new":[]}"#, Ok(3));
        check(r#"{"format":1,"critical":["size"],"size":3}"#, Ok(3));
        check(
            r#"{"format":1,"critical":["new"],"size":3,"new":0}"#,
            Err("'new'"),
        );
        check(r#"{"format":2,"size":{}}"#, Err("format 2"));
        check(r#"{"size":3}"#, Err("missing field `format`"));
        check(r#"{"format":1,"size":3,"size":4}"#, Err("duplicate field"));
        check("<html>", Err("malformed"));
    }
}
