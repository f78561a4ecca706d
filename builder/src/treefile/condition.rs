//! `conditional-include`: variables and what is asked of them.

use std::collections::BTreeMap;
use std::fmt;

use super::document::{Kind, Node, Parsed};

/// Where a value comes from the type follows from how it is written: `35` is a number, `"35"` a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Truth(bool),
    Number(u64),
    Text(String),
}

pub type Variables = BTreeMap<String, Value>;

/// Filled in by the builder: no treefile may define them.
pub const RESERVED: [&str; 2] = ["releasever", "basearch"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    variable: String,
    operator: Operator,
    value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Value {
    pub fn read(node: &Node) -> Parsed<Self> {
        match &node.kind {
            Kind::Plain(text) => Ok(Self::plain(text)),
            Kind::Quoted(text) => Ok(Self::Text(text.clone())),
            _ => Err(node.error("a text, a number, true or false is expected here")),
        }
    }

    fn plain(text: &str) -> Self {
        match text {
            "true" => Self::Truth(true),
            "false" => Self::Truth(false),
            _ => text
                .parse()
                .map_or_else(|_| Self::Text(text.to_owned()), Self::Number),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truth(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

impl Condition {
    /// `VARIABLE OPERATOR VALUE`; a text stands between double quotes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is not a condition: write VARIABLE OPERATOR VALUE, such as releasever >= 13 or stream == \"stable\""
            )
        };
        let text = text.trim();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = text.find(|c| !is_name(c)).ok_or_else(wrong)?;
        let (variable, rest) = text.split_at(end);
        let rest = rest.trim_start();
        let end = rest.find(|c: char| !"=!<>".contains(c)).ok_or_else(wrong)?;
        let (operator, value) = rest.split_at(end);
        let value = value.trim();
        let quoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
        let value = match (quoted, Value::plain(value)) {
            (Some(text), _) => Value::Text(text.to_owned()),
            (None, Value::Text(_)) => return Err(wrong()),
            (None, value) => value,
        };
        if variable.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            variable: variable.to_owned(),
            operator: Operator::parse(operator)?,
            value,
        })
    }

    pub fn holds(&self, variables: &Variables) -> Result<bool, String> {
        let Self {
            variable, value, ..
        } = self;
        let found = variables
            .get(variable)
            .ok_or_else(|| format!("there is no variable '{variable}'"))?;
        match (found, value, self.operator) {
            (Value::Number(a), Value::Number(b), operator) => Ok(operator.compares(a, b)),
            (Value::Truth(_), Value::Truth(_), Operator::Equal)
            | (Value::Text(_), Value::Text(_), Operator::Equal) => Ok(found == value),
            (Value::Truth(_), Value::Truth(_), Operator::NotEqual)
            | (Value::Text(_), Value::Text(_), Operator::NotEqual) => Ok(found != value),
            (Value::Truth(_), Value::Truth(_), _) | (Value::Text(_), Value::Text(_), _) => Err(
                format!("'{found}' and '{value}' are no numbers: compare them with == or !="),
            ),
            _ => Err(format!(
                "variable '{variable}' is '{found}', which is of another type than '{value}'"
            )),
        }
    }
}

impl Operator {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "==" => Self::Equal,
            "!=" => Self::NotEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            _ => {
                return Err(format!(
                    "'{text}' is not an operator: write ==, !=, <, <=, > or >="
                ));
            }
        })
    }

    fn compares(self, a: &u64, b: &u64) -> bool {
        match self {
            Self::Equal => a == b,
            Self::NotEqual => a != b,
            Self::Greater => a > b,
            Self::GreaterOrEqual => a >= b,
            Self::Less => a < b,
            Self::LessOrEqual => a <= b,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        Variables::from([
            ("releasever".to_owned(), Value::Number(13)),
            ("stream".to_owned(), Value::Text("stable".to_owned())),
            ("debug".to_owned(), Value::Truth(false)),
        ])
    }

    #[test]
    fn conditions_hold_or_not() {
        let table = [
            ("releasever == 13", true),
            ("releasever>=13", true),
            ("releasever > 13", false),
            ("releasever < 14", true),
            ("releasever <= 12", false),
            ("releasever != 12", true),
            ("stream == \"stable\"", true),
            ("stream != \"stable\"", false),
            ("  debug == false ", true),
            ("debug != false", false),
        ];
        for (text, expected) in table {
            let condition = Condition::parse(text).unwrap();
            assert_eq!(condition.holds(&variables()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for (text, part) in [
            ("releasever", "is not a condition"),
            ("releasever ==", "is not a condition"),
            ("== 1", "is not a condition"),
            ("stream == stable", "is not a condition"),
            ("releasever =< 1", "'=<' is not an operator"),
            ("releasever = 1", "'=' is not an operator"),
        ] {
            let error = Condition::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        for (text, part) in [
            ("other == 1", "there is no variable 'other'"),
            ("releasever == \"13\"", "of another type"),
            ("stream > \"a\"", "compare them with == or !="),
        ] {
            let error = Condition::parse(text).unwrap().holds(&variables());
            assert!(error.unwrap_err().contains(part), "{text}");
        }
    }
}
