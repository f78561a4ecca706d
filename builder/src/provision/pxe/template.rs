//! Texts with names in them: `@URL@` stands for a value.

/// Fills a template of ours; each of its names has a value.
pub fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), value);
    }
    text
}

/// Words with one space between them, without the empty ones.
pub fn words<const N: usize>(all: [&str; N]) -> String {
    let words = all.into_iter().flat_map(str::split_whitespace);
    words.collect::<Vec<_>>().join(" ")
}
