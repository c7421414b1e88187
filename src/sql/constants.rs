//! Texts that differ in nothing but constants, as those of clients that write values into them, are one to the
//! classifier: numbers and strings decide nothing in a plain statement.

use super::parse::LONGEST_TEXT;

/// The statements in which they decide nothing, by their first words. In others they may: `EXPLAIN (ANALYZE 1)`.
const PLAIN: [&[u8]; 6] = [b"select", b"insert", b"update", b"delete", b"with", b"values"];

/// The function whose arguments say what it does.
const TELLING: &[u8] = b"set_config";

/// Writes `text` to `out` with `0` for each whole number and `''` for each string. False, with anything in `out`, where
/// they may decide something, or where telling them apart takes more than a look at the bytes: comments, backslashes,
/// dollar quotes, several statements. Goes by PostgreSQL's `scan.l`; what is no SQL may come out as what is.
pub(super) fn take_out(text: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    if text.len() > LONGEST_TEXT || !is_plain(text) {
        return false;
    }
    // What is kept is copied in long pieces: from here on.
    let (mut kept, mut at) = (0, 0);
    while let Some(&byte) = text.get(at) {
        match CLASSES[usize::from(byte)] {
            Class::Plain => at += 1,
            Class::Word => {
                let end = end_of(text, at, Class::continues_word);
                if end - at == TELLING.len() && text[at..end].eq_ignore_ascii_case(TELLING) {
                    return false;
                }
                at = end;
            }
            Class::Digit => {
                let end = end_of(text, at, Class::is_digit);
                if text.get(end).is_some_and(|next| *next == b'.' || Class::of(*next).continues_word()) {
                    at = end_of(text, end, |class| class.continues_word() || class == Class::Point);
                    continue;
                }
                out.extend_from_slice(&text[kept..at]);
                out.push(b'0');
                (kept, at) = (end, end);
            }
            Class::Quote => {
                let Some(end) = string_end(text, at) else { return false };
                out.extend_from_slice(&text[kept..at]);
                out.extend_from_slice(b"''");
                (kept, at) = (end, end);
            }
            // `.5`, and the number of a parameter.
            Class::Point => at = end_of(text, at + 1, Class::is_digit),
            Class::Dollar if text.get(at + 1).is_some_and(u8::is_ascii_digit) => {
                at = end_of(text, at + 1, Class::is_digit);
            }
            Class::Special => match special_end(text, at) {
                Some(end) => at = end,
                None => return false,
            },
            Class::Dollar => return false,
        }
    }
    out.extend_from_slice(&text[kept..]);
    true
}

/// Returns where the piece ends that begins with the special byte at `at`; `None` if the text is to be left alone for it.
fn special_end(text: &[u8], at: usize) -> Option<usize> {
    let next = text.get(at + 1);
    match text[at] {
        b'"' => {
            // The name may be written in escapes.
            let escapes = at > 0 && text[at - 1] == b'&';
            let length = memchr::memchr(b'"', &text[at + 1..])?;
            let tells = text[at + 1..][..length].eq_ignore_ascii_case(TELLING);
            (!escapes && !tells).then_some(at + length + 2)
        }
        b'-' => (next != Some(&b'-')).then_some(at + 1),
        b'/' => (next != Some(&b'*')).then_some(at + 1),
        b';' => text[at + 1..].trim_ascii().is_empty().then_some(at + 1),
        _ => None,
    }
}

fn is_plain(text: &[u8]) -> bool {
    let start = text.trim_ascii_start();
    let word = &start[..end_of(start, 0, Class::continues_word)];
    PLAIN.iter().any(|plain| word.eq_ignore_ascii_case(plain))
}

/// Returns where the string ends that begins at `at`; a doubled quote does not end it. `None` if a backslash may.
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    let mut end = at + 1;
    loop {
        end += memchr::memchr2(b'\'', b'\\', &text[end..])? + 1;
        if text[end - 1] == b'\\' {
            return None;
        }
        if text.get(end) != Some(&b'\'') {
            return Some(end);
        }
        end += 1;
    }
}

fn end_of(text: &[u8], from: usize, within: impl Fn(Class) -> bool) -> usize {
    from + text[from..].iter().take_while(|byte| within(Class::of(**byte))).count()
}

/// What a byte may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Nothing of interest.
    Plain,
    /// A name or a keyword.
    Word,
    Digit,
    Quote,
    Point,
    Dollar,
    /// Something that is looked at more closely.
    Special,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    let mut byte = 0;
    while byte < classes.len() {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => Class::Word,
            b'0'..=b'9' => Class::Digit,
            b'\'' => Class::Quote,
            b'.' => Class::Point,
            b'$' => Class::Dollar,
            b'"' | b'-' | b'/' | b';' | b'\\' => Class::Special,
            _ => Class::Plain,
        };
        byte += 1;
    }
    classes
};

impl Class {
    fn of(byte: u8) -> Class {
        CLASSES[usize::from(byte)]
    }

    fn is_digit(self) -> bool {
        self == Class::Digit
    }

    fn continues_word(self) -> bool {
        matches!(self, Class::Word | Class::Digit | Class::Dollar)
    }
}

#[cfg(test)]
mod tests {
    use super::super::classify::classify;
    use super::*;

    fn taken_out(text: &str) -> Option<String> {
        let mut out = Vec::new();
        take_out(text.as_bytes(), &mut out).then(|| String::from_utf8(out).expect("UTF-8 stays so"))
    }

    #[test]
    fn constants_are_told_from_what_looks_like_them() {
        for (text, expected) in [
            ("SELECT abalance FROM t1 WHERE aid = 4711;", "SELECT abalance FROM t1 WHERE aid = 0;"),
            (
                "select a1, $12, b$3 from é4 where x in (1,23, -5)",
                "select a1, $12, b$3 from é4 where x in (0,0, -0)",
            ),
            (
                "select 1.5, .25, 1e10, 0x1F, 1_000, 12abc, t.a5",
                "select 1.5, .25, 1e10, 0x1F, 1_000, 12abc, t.a5",
            ),
            ("select a[1:2], 7%3, 2^5, f(9)", "select a[0:0], 0%0, 0^0, f(0)"),
            (
                "\n update t set a = 'it''s 5', b = '' where c = E'x'",
                "\n update t set a = '', b = '' where c = E''",
            ),
            (r#"select "a 5""b 6", U&'d' from t"#, r#"select "a 5""b 6", U&'' from t"#),
            ("with x as (select 5) select * from x;  ", "with x as (select 0) select * from x;  "),
        ] {
            assert_eq!(taken_out(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_takes_more_than_a_look_is_left() {
        for text in [
            "",
            "selects 5",
            "set work_mem = 5",
            "explain (analyze 1) delete from t",
            "select 1; select 2",
            "select pg_catalog.Set_Config('seed', '0.5', false)",
            "select \"set_config\"('a', 'b', true)",
            "select U&\"set!005fconfig\" UESCAPE '!' ('a', 'b', true)",
            "select 1 -- 5",
            "select /* bellwether: primary */ 1",
            "select E'\\'', 5",
            "select 'open",
            "select \"open",
            "select $$ 5 $$",
            "select $a$ 5 $a$, 1",
        ] {
            assert_eq!(taken_out(text), None, "{text}");
        }
    }

    /// For every statement of the table that has constants: it is the same with others in their place.
    #[test]
    fn other_constants_make_no_other_class() {
        let mut tried = 0;
        for line in include_str!("statements.txt").lines() {
            let text = line.split("  =>  ").next().unwrap_or_default();
            let class = classify(text.as_bytes(), true);
            let Some(plain) = taken_out(text).filter(|_| class.parsed) else { continue };
            for (number, string) in [("0", "''"), ("1", "'t'"), ("3000000000", "'nextval'")] {
                let other = plain.replace("''", string).replace('0', number);
                let other_class = classify(other.as_bytes(), true);
                // A few numbers are no constants of SQL to the grammar: `float(3000000000)`.
                if other_class.parsed && taken_out(&other).as_deref() == Some(&plain) {
                    assert_eq!(other_class, class, "{text}\n{other}");
                    tried += 1;
                }
            }
        }
        assert!(tried > 300, "{tried}");
    }
}
