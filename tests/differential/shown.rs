//! Messages of a server as lines that can be compared and read.
//!
//! Everything in them is shown but for what two runs cannot have in common, and that is erased here: OIDs of objects that
//! users made, process ids, numbers of transactions and of schemas for temporary objects; and where in the server's source an
//! error was raised, if it is one of those that the proxy knows by itself and may say without asking a server.

use crate::raw::Message;

/// OIDs from here on are those of users' objects.
const FIRST_OF_USERS: u32 = 16_384;

/// A statement of that name exists, or does not; a block has failed; a plan that is not the client's any more.
const KNOWN_TO_THE_PROXY: [&str; 4] = ["C=42P05", "C=26000", "C=25P02", "C=0A000"];

/// One line for one message.
pub fn line(message: &Message) -> String {
    let mut body = Body(&message.body);
    let shown = match message.tag {
        'T' => columns(&mut body),
        'D' => values(&mut body),
        't' => (0..body.short()).map(|_| oid(body.long())).collect::<Vec<_>>().join(" "),
        'E' | 'N' => fields(&mut body),
        'A' => {
            let _pid = body.long();
            format!("{} {:?}", body.text(), body.text())
        }
        'd' => datum(body.0),
        'C' | 'Z' => String::from_utf8_lossy(&message.body).replace('\0', ""),
        'G' | 'H' | 'W' => format!("{:02x?}", message.body),
        'V' => match body.long() {
            u32::MAX => "null".into(),
            _ => datum(body.0),
        },
        _ => body.rest(),
    };
    format!("{} {}", message.tag, short(&shown)).trim_end().replace('\n', "\\n")
}

/// Name and value of a ParameterStatus.
pub fn parameter(message: &Message) -> Option<(String, String)> {
    let mut body = Body(&message.body);
    Some((body.text(), body.text()))
}

fn columns(body: &mut Body) -> String {
    let column = |body: &mut Body| {
        let name = body.text();
        let (table, number, kind) = (oid(body.long()), body.short(), oid(body.long()));
        let (length, modifier, format) = (body.short() as i16, body.long() as i32, body.short());
        format!("{name}[{table}.{number} type {kind} {length} {modifier} format {format}]")
    };
    (0..body.short()).map(|_| column(body)).collect::<Vec<_>>().join(" ")
}

fn values(body: &mut Body) -> String {
    let value = |body: &mut Body| match body.long() {
        u32::MAX => "null".to_owned(),
        length => datum(body.take(length as usize)),
    };
    (0..body.short()).map(|_| value(body)).collect::<Vec<_>>().join("|")
}

/// Text where it is some, else hexadecimal.
fn datum(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text)
            if !text.contains(|letter: char| letter.is_control() && letter != '\n' && letter != '\t') =>
        {
            erased(text, "pg_temp_")
        }
        _ => bytes.iter().map(|byte| format!("{byte:02x}")).fold("\\x".to_owned(), |all, byte| all + &byte),
    }
}

/// All of an error or a notice, place in the server's source included.
fn fields(body: &mut Body) -> String {
    let fields = body.0.split(|byte| *byte == 0).filter(|field| !field.is_empty());
    let shown = fields.map(|field| {
        let text = String::from_utf8_lossy(&field[1..]).into_owned();
        let numbered = ["rocess ", "ransaction ", "pg_temp_"];
        let text = numbered.iter().fold(text, |text, word| erased(&text, word));
        format!("{}={text}", field[0] as char)
    });
    let mut shown: Vec<String> = shown.collect();
    if shown.iter().any(|field| KNOWN_TO_THE_PROXY.contains(&&**field)) {
        shown.retain(|field| !field.starts_with(['F', 'L', 'R']));
    }
    shown.join(" ")
}

/// Without the number that follows `word`.
fn erased(text: &str, word: &str) -> String {
    let mut parts = text.split(word);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| {
        let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
        all + word + if rest.len() < part.len() { "#" } else { "" } + rest
    })
}

fn oid(number: u32) -> String {
    if number < FIRST_OF_USERS { number.to_string() } else { "own".into() }
}

/// What is long is told by its length and its hash: a difference shows, and can be printed.
fn short(text: &str) -> String {
    const MOST: usize = 2000;
    if text.len() <= MOST {
        return text.to_owned();
    }
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let head: String = text.chars().take(60).collect();
    format!("{head}... {} bytes, hash {hash:016x}", text.len())
}

/// Reads on; what is too short reads as nothing, and shows as a difference.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn short(&mut self) -> u16 {
        self.take(2).iter().fold(0, |all, byte| all << 8 | u16::from(*byte))
    }

    fn long(&mut self) -> u32 {
        self.take(4).iter().fold(0, |all, byte| all << 8 | u32::from(*byte))
    }

    fn text(&mut self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let text = String::from_utf8_lossy(self.take(end)).into_owned();
        self.take(1);
        text
    }

    fn rest(&mut self) -> String {
        String::from_utf8_lossy(self.0).replace('\0', " ")
    }
}
