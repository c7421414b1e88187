//! Frontend messages as a script says them, and their bytes.

use crate::raw::{self, message};

/// Numbers that a script writes as `{key}` and `{n}`.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// Of this run of the script, and of no other one that is under way.
    pub key: usize,
    /// Of its schemas.
    pub home: usize,
}

impl Numbers {
    pub fn fill(self, text: &str) -> String {
        text.replace("{key}", &self.key.to_string()).replace("{n}", &format!("{:02}", self.home))
    }
}

#[derive(Clone, Debug)]
pub enum Frontend {
    Query(String),
    Parse {
        name: String,
        types: Vec<u32>,
        sql: String,
    },
    Bind {
        portal: String,
        statement: String,
        values: Vec<Value>,
        formats: Vec<u16>,
    },
    Describe(u8, String),
    /// A portal, and how many rows; 0 is all.
    Execute(String, u32),
    Close(u8, String),
    Sync,
    Flush,
    Function {
        oid: u32,
        values: Vec<Value>,
        result: u16,
    },
    CopyData(Vec<u8>),
    CopyDone,
    CopyFail(String),
}

/// A parameter.
#[derive(Clone, Debug)]
pub struct Value {
    /// As text, where it is one.
    pub text: String,
    /// `None` is NULL.
    pub bytes: Option<Vec<u8>>,
    pub binary: bool,
    /// How often the bytes are repeated.
    pub times: usize,
}

impl Frontend {
    /// One that ends a step: it is sent with all before it, and answered.
    pub fn is_answered_ready(&self) -> bool {
        matches!(self, Frontend::Query(_) | Frontend::Sync | Frontend::Function { .. })
    }

    /// What it says in SQL.
    pub fn sql(&self) -> Option<&str> {
        match self {
            Frontend::Query(sql) | Frontend::Parse { sql, .. } => Some(sql),
            _ => None,
        }
    }

    /// Whether PostgreSQL answers it by itself, before any Sync.
    pub fn is_answered_early(&self) -> bool {
        use Frontend::{Bind, Close, Describe, Execute, Parse};
        matches!(self, Parse { .. } | Bind { .. } | Describe(..) | Execute(..) | Close(..))
    }

    pub fn bytes(&self, numbers: Numbers) -> Vec<u8> {
        let fill = |text: &str| numbers.fill(text);
        match self {
            Frontend::Query(sql) => raw::query(&fill(sql)),
            Frontend::Parse { name, types, sql } => parse(name, types, &fill(sql)),
            Frontend::Bind { portal, statement, values, formats } => {
                bind(portal, statement, values, formats, numbers)
            }
            Frontend::Describe(kind, name) => raw::describe((*kind).into(), name),
            Frontend::Execute(portal, rows) => raw::execute(portal, *rows),
            Frontend::Close(kind, name) => raw::close((*kind).into(), name),
            Frontend::Sync => raw::sync(),
            Frontend::Flush => raw::flush(),
            Frontend::Function { oid, values, result } => function(*oid, values, *result, numbers),
            Frontend::CopyData(data) => raw::copy_data(data),
            Frontend::CopyDone => raw::copy_done(),
            Frontend::CopyFail(why) => raw::copy_fail(why),
        }
    }
}

fn parse(name: &str, types: &[u32], sql: &str) -> Vec<u8> {
    let mut body = format!("{name}\0{sql}\0").into_bytes();
    body.extend(count(types.len()));
    body.extend(types.iter().flat_map(|oid| oid.to_be_bytes()));
    message(b'P', &body)
}

fn bind(portal: &str, statement: &str, values: &[Value], formats: &[u16], numbers: Numbers) -> Vec<u8> {
    let mut body = format!("{portal}\0{statement}\0").into_bytes();
    body.extend(arguments(values, numbers));
    body.extend(count(formats.len()));
    body.extend(formats.iter().flat_map(|format| format.to_be_bytes()));
    message(b'B', &body)
}

fn function(oid: u32, values: &[Value], result: u16, numbers: Numbers) -> Vec<u8> {
    let mut body = oid.to_be_bytes().to_vec();
    body.extend(arguments(values, numbers));
    body.extend(result.to_be_bytes());
    message(b'F', &body)
}

/// Formats, then values.
fn arguments(values: &[Value], numbers: Numbers) -> Vec<u8> {
    let mut body = count(values.len()).to_vec();
    body.extend(values.iter().flat_map(|value| u16::from(value.binary).to_be_bytes()));
    body.extend(count(values.len()));
    for value in values {
        match &value.bytes {
            None => body.extend((-1i32).to_be_bytes()),
            Some(bytes) => {
                let filled =
                    if value.binary { bytes.clone() } else { numbers.fill(&value.text).into_bytes() };
                let bytes = filled.repeat(value.times);
                body.extend(u32::try_from(bytes.len()).expect("a script's value is short").to_be_bytes());
                body.extend(bytes);
            }
        }
    }
    body
}

fn count(number: usize) -> [u8; 2] {
    u16::try_from(number).expect("a script is short").to_be_bytes()
}
