//! YAML out of JSON values. Strings are in double quotes wherever a reader could take them for something else.

use serde_json::Value;

/// Writes a value as a YAML document.
pub fn text(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

/// Writes a value whose first line stands where the writer stands.
fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (index, (key, value)) in map.iter().enumerate() {
                pad(if index == 0 { 0 } else { indent }, out);
                out.push_str(&scalar(key));
                out.push(':');
                entry(value, indent, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                pad(if index == 0 { 0 } else { indent }, out);
                out.push_str("- ");
                block(item, indent + 2, out);
            }
        }
        Value::Object(_) => out.push_str("{}\n"),
        Value::Array(_) => out.push_str("[]\n"),
        Value::String(text) => out.push_str(&(scalar(text) + "\n")),
        other => out.push_str(&format!("{other}\n")),
    }
}

/// Writes the value of a key: on the same line, or as a block below it.
fn entry(value: &Value, indent: usize, out: &mut String) {
    let nested = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if nested {
        out.push('\n');
        pad(indent + 2, out);
        block(value, indent + 2, out);
    } else {
        out.push(' ');
        block(value, indent, out);
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// A JSON string is a YAML string. What begins with a letter, holds nothing but plain letters, and is no word of
/// YAML's own reads the same without the quotes.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let plain = text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/'))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if plain {
        return text.to_owned();
    }
    // JSON leaves DEL and the upper control letters as they are; YAML does not take them.
    let mut quoted = String::new();
    for letter in Value::from(text).to_string().chars() {
        match letter {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                quoted.push_str(&format!("\\u{:04x}", letter as u32))
            }
            _ => quoted.push(letter),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_values_are_indented() {
        let value = json!({
            "a": 1, "b": [], "c": {}, "d": null, "e": [{"x": 1, "y": ["p", "q"]}, [2, 3]], "f": {"g": {"h": true}},
        });
        let expected = "a: 1\nb: []\nc: {}\nd: null\ne:\n  - x: 1\n    \"y\":\n      - p\n      - q\n  - - 2\n    - 3\nf:\n  g:\n    h: true\n";
        assert_eq!(text(&value), expected);
    }

    #[test]
    fn strings_stay_strings() {
        for (string, expected) in [
            ("a", "a"),
            ("10.0.0.1:5432", "\"10.0.0.1:5432\""),
            ("0/16", "\"0/16\""),
            ("a: b", "\"a: b\""),
            ("No", "\"No\""),
            ("", "\"\""),
            ("a\n\u{85}", "\"a\\n\\u0085\""),
            ("1e3", "\"1e3\""),
        ] {
            assert_eq!(text(&json!({"k": string})), format!("k: {expected}\n"));
        }
    }
}
