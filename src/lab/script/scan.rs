//! Text to words, quoted texts and relations, each with its place.

use super::ScriptError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Quoted,
    /// `=`, `<` or `<=`.
    Relation,
    /// Newline or `;`.
    End,
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    pub text: String,
    pub line: usize,
    pub column: usize,
    /// Column after the token.
    pub end: usize,
}

impl Token {
    pub fn shown(&self) -> String {
        match self.kind {
            Kind::Quoted => "a quoted text".to_owned(),
            _ => format!("{:?}", self.text),
        }
    }
}

/// Cuts a script into its words.
pub(super) fn tokens(script: &str) -> Result<Vec<Token>, ScriptError> {
    let mut scanner = Scanner { rest: script.chars().peekable(), line: 1, column: 1 };
    let mut tokens = Vec::new();
    while let Some(token) = scanner.token()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Scanner<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
    column: usize,
}

impl Scanner<'_> {
    fn token(&mut self) -> Result<Option<Token>, ScriptError> {
        self.skip_blanks();
        let (line, column) = (self.line, self.column);
        let Some(first) = self.rest.peek().copied() else { return Ok(None) };
        let (kind, text) = match first {
            '\n' | ';' => (Kind::End, self.bump().into_iter().collect()),
            '=' | '<' => (Kind::Relation, self.relation()),
            '"' | '\'' => (Kind::Quoted, self.quoted(line, column)?),
            _ => (Kind::Word, self.word()),
        };
        Ok(Some(Token { kind, text, line, column, end: self.column }))
    }

    fn skip_blanks(&mut self) {
        while let Some(next) = self.rest.peek().copied() {
            match next {
                '#' => {
                    while self.rest.peek().is_some_and(|next| *next != '\n') {
                        self.bump();
                    }
                }
                '\n' => return,
                blank if blank.is_whitespace() => {
                    self.bump();
                }
                _ => return,
            }
        }
    }

    fn relation(&mut self) -> String {
        let mut text: String = self.bump().into_iter().collect();
        if text == "<" && self.rest.peek() == Some(&'=') {
            text.extend(self.bump());
        }
        text
    }

    fn word(&mut self) -> String {
        let mut text = String::new();
        while self.rest.peek().is_some_and(|next| !next.is_whitespace() && !";=<\"'".contains(*next)) {
            text.extend(self.bump());
        }
        text
    }

    fn quoted(&mut self, line: usize, column: usize) -> Result<String, ScriptError> {
        let quote = self.bump();
        let mut text = String::new();
        loop {
            let Some(next) = self.bump() else {
                let message = "this quoted text does not end".to_owned();
                return Err(ScriptError { line, column, message });
            };
            if Some(next) == quote {
                // '' inside single quotes is one quote.
                if next != '\'' || self.rest.peek() != Some(&'\'') {
                    return Ok(text);
                }
                self.bump();
            }
            match next {
                '\\' if quote == Some('"') => text.extend(self.bump().map(unescaped)),
                _ => text.push(next),
            }
        }
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.rest.next()?;
        if next == '\n' {
            (self.line, self.column) = (self.line + 1, 1);
        } else {
            self.column += 1;
        }
        Some(next)
    }
}

fn unescaped(letter: char) -> char {
    if letter == 'n' { '\n' } else { letter }
}
