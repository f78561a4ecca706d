//! The words of a line, quoted as in a shell: what Python's `shlex` makes of it, with which pykickstart reads.

/// Splits a line. `#` outside of quotes begins a comment, also within a word.
pub fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' => words.extend(word.take()),
            '#' => break,
            '\'' => word.get_or_insert_default().push_str(&single(&mut chars)?),
            '"' => word.get_or_insert_default().push_str(&double(&mut chars)?),
            '\\' => match chars.next() {
                Some(escaped) => word.get_or_insert_default().push(escaped),
                None => return Err("a line cannot be continued: write it in one".into()),
            },
            c if is_unwanted(c) => return Err(format!("a control character, {c:?}")),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// A word as [`split`] reads it.
pub fn quote(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_=+:;,./@%$*?!^~".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in word.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

fn single(chars: &mut std::str::Chars) -> Result<String, String> {
    let mut text = String::new();
    for c in chars {
        match c {
            '\'' => return Ok(text),
            c if is_unwanted(c) => return Err(format!("a control character, {c:?}")),
            c => text.push(c),
        }
    }
    Err("a ' without its end".into())
}

fn double(chars: &mut std::str::Chars) -> Result<String, String> {
    let mut text = String::new();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok(text),
            '\\' => match chars.next() {
                Some(escaped @ ('"' | '\\')) => text.push(escaped),
                Some(other) if !is_unwanted(other) => text.extend(['\\', other]),
                _ => break,
            },
            c if is_unwanted(c) => return Err(format!("a control character, {c:?}")),
            c => text.push(c),
        }
    }
    Err("a \" without its end".into())
}

/// What other readers of kickstart take for the end of a line, and what has no place in one.
fn is_unwanted(c: char) -> bool {
    (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_split_as_in_a_shell() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            ("  part  / \t--grow\r", &["part", "/", "--grow"]),
            ("a # b", &["a"]),
            ("a#b c", &["a"]),
            ("a '#' \"#b\"", &["a", "#", "#b"]),
            ("a\\ b \\#c", &["a b", "#c"]),
            ("--x=\"a b\"c'd e'", &["--x=a bcd e"]),
            ("'' \"\"", &["", ""]),
            (r#""a\"b\\c\d" '\n'"#, &[r#"a"b\c\d"#, r"\n"]),
        ];
        for (line, expected) in table {
            assert_eq!(split(line).unwrap(), *expected, "{line:?}");
        }
    }

    #[test]
    fn what_is_not_whole_is_named() {
        let table = [
            ("a 'b", "a ' without its end"),
            ("a \"b", "a \" without its end"),
            ("a \"b\\", "a \" without its end"),
            ("a \\", "a line cannot be continued: write it in one"),
            ("a\u{1b}b", "a control character, '\\u{1b}'"),
            ("a '\u{2028}'", "a control character, '\\u{2028}'"),
        ];
        for (line, expected) in table {
            assert_eq!(split(line).unwrap_err(), expected, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_split_or_refused(line in ".*") {
            let _ = split(&line);
        }

        #[test]
        fn quoted_words_come_back(words in prop::collection::vec("[ -~äß]*", 0..6)) {
            let line: Vec<String> = words.iter().map(|word| quote(word)).collect();
            prop_assert_eq!(split(&line.join(" ")).unwrap(), words);
        }
    }
}
