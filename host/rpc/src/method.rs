//! What a method is: its name, its parameters, how near it is to SPDK's; and the check that parameters are as they should be.

use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine, alphabet};
use serde_json::{Map, Value};

use crate::message::{RpcError, kind};

/// A method.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// Name.
    pub name: &'static str,
    /// What it does, one sentence.
    pub about: &'static str,
    /// What it takes.
    pub params: &'static [Param],
    /// What it gives, a phrase.
    pub gives: &'static str,
    /// How it is to SPDK's of the same name.
    pub spdk: Spdk,
}

/// How a method is to SPDK's of the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spdk {
    /// The same parameters and the same shape of the result.
    Same,
    /// It differs so.
    Differs(&'static str),
    /// SPDK has none.
    Own,
}

/// A parameter.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Name.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// It must be there.
    pub required: bool,
    /// What it means.
    pub about: &'static str,
}

/// Type of a parameter.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A string.
    Text,
    /// A boolean.
    Bool,
    /// A whole number from 0 to this.
    Number(u64),
    /// An object of these members.
    Object(&'static [Param]),
    /// Any JSON object or array.
    Json,
    /// Up to so many bytes in base64, as SPDK sends them: with `-` and `_` or `+` and `/`, padded or not.
    Data(usize),
    /// Something of SPDK's that there is not here, and that SPDK's clients send all the same, switched off: false, or an
    /// object or array without members.
    Absent,
}

/// Longest string in a parameter, but for [`Kind::Json`].
pub const MAX_TEXT: usize = 1024;

impl Method {
    /// Checks parameters: all known, none missing, types right. `null` counts as left out, as clients in Python send it.
    ///
    /// # Errors
    /// [`RpcError`] with what was wanted and what came.
    pub fn check(&self, params: Option<Value>) -> Result<Params, RpcError> {
        let object = match params {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(object)) => object,
            Some(other) => {
                let message = format!(
                    "params: an object of named parameters wanted, {} came",
                    kind(&other)
                );
                return Err(RpcError::params(message));
            }
        };
        check(object, self.params, "")
            .map(Params)
            .map_err(RpcError::params)
    }
}

/// Checked parameters. What a getter is asked for must be in the method's table.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Params(Map<String, Value>);

impl Params {
    /// A string, if given.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// A string that the table requires.
    #[must_use]
    pub fn need(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }

    /// A boolean, if given.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name).and_then(Value::as_bool)
    }

    /// A number, if given.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name).and_then(Value::as_u64)
    }

    /// The members of an object; none if it was not given.
    #[must_use]
    pub fn object(&self, name: &str) -> Params {
        match self.0.get(name) {
            Some(Value::Object(object)) => Params(object.clone()),
            _ => Params::default(),
        }
    }

    /// Bytes, if given.
    #[must_use]
    pub fn data(&self, name: &str) -> Option<Vec<u8>> {
        decode(self.text(name)?)
    }

    /// Any value, if given.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

/// Bytes from base64, whatever its alphabet; `None` if it is none.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.replace('+', "-").replace('/', "_");
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&alphabet::URL_SAFE, config)
        .decode(text)
        .ok()
}

/// Bytes as base64, in the alphabet that SPDK takes.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    base64::engine::general_purpose::URL_SAFE.encode(bytes)
}

fn check(
    mut object: Map<String, Value>,
    params: &[Param],
    within: &str,
) -> Result<Map<String, Value>, String> {
    object.retain(|_, value| !value.is_null());
    if let Some(stranger) = object.keys().find(|k| params.iter().all(|p| p.name != *k)) {
        let known: Vec<_> = params.iter().map(|p| p.name).collect();
        let known = if known.is_empty() {
            "none".into()
        } else {
            known.join(", ")
        };
        // Quoted, since it is anything a client likes.
        let stranger: String = stranger.chars().take(64).collect();
        return Err(format!(
            "{within}{stranger:?} is no parameter here; there are: {known}"
        ));
    }
    let mut checked = Map::new();
    for param in params {
        let name = format!("{within}{}", param.name);
        match object.remove(param.name) {
            Some(value) => _ = checked.insert(param.name.into(), param.kind.check(value, &name)?),
            None if param.required => {
                return Err(format!(
                    "{name}: {} wanted, nothing came",
                    param.kind.wanted()
                ));
            }
            None => {}
        }
    }
    Ok(checked)
}

impl Kind {
    fn check(self, value: Value, name: &str) -> Result<Value, String> {
        let wrong = |came: &str| Err(format!("{name}: {} wanted, {came} came", self.wanted()));
        match (self, value) {
            (Self::Data(max), Value::String(s)) => match decode(&s) {
                Some(bytes) if bytes.len() <= max => Ok(Value::String(s)),
                Some(bytes) => wrong(&format!("{} bytes", bytes.len())),
                None => wrong("another text"),
            },
            (Self::Text, Value::String(s)) if s.len() > MAX_TEXT => {
                wrong(&format!("one of {} bytes", s.len()))
            }
            (Self::Text, v @ Value::String(_)) | (Self::Bool, v @ Value::Bool(_)) => Ok(v),
            (Self::Number(max), Value::Number(n)) => match n.as_u64() {
                Some(number) if number <= max => Ok(Value::Number(n)),
                _ => wrong(&n.to_string()),
            },
            (Self::Object(members), Value::Object(object)) => {
                check(object, members, &format!("{name}.")).map(Value::Object)
            }
            (Self::Json, v @ (Value::Object(_) | Value::Array(_))) => Ok(v),
            (Self::Absent, v @ Value::Bool(false)) => Ok(v),
            (Self::Absent, Value::Object(object)) if object.is_empty() => Ok(Value::Object(object)),
            (Self::Absent, Value::Array(list)) if list.is_empty() => Ok(Value::Array(list)),
            (Self::Absent, Value::Bool(true)) => wrong("true"),
            (_, other) => wrong(kind(&other)),
        }
    }

    /// What is wanted, for messages.
    #[must_use]
    pub fn wanted(self) -> String {
        match self {
            Self::Text => format!("a string of at most {MAX_TEXT} bytes"),
            Self::Bool => "true or false".into(),
            Self::Number(u64::MAX) => "a whole number".into(),
            Self::Number(max) => format!("a whole number from 0 to {max}"),
            Self::Object(_) => "an object".into(),
            Self::Json => "an object or array".into(),
            Self::Data(max) => format!("at most {max} bytes in base64"),
            Self::Absent => "false or nothing (there is no such thing here)".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const METHOD: Method = Method {
        name: "m",
        about: "",
        params: &[
            Param {
                name: "nqn",
                kind: Kind::Text,
                required: true,
                about: "",
            },
            Param {
                name: "count",
                kind: Kind::Number(9),
                required: false,
                about: "",
            },
            Param {
                name: "on",
                kind: Kind::Bool,
                required: false,
                about: "",
            },
            Param {
                name: "at",
                kind: Kind::Object(&[Param {
                    name: "port",
                    kind: Kind::Text,
                    required: true,
                    about: "",
                }]),
                required: false,
                about: "",
            },
        ],
        gives: "",
        spdk: Spdk::Own,
    };

    #[test]
    fn wrong_parameters_are_told_by_name_with_what_was_wanted_and_what_came() {
        for (params, message) in [
            (
                json!([1]),
                "params: an object of named parameters wanted, an array came",
            ),
            (
                json!({}),
                "nqn: a string of at most 1024 bytes wanted, nothing came",
            ),
            (
                json!({"nqn": 5}),
                "nqn: a string of at most 1024 bytes wanted, a number came",
            ),
            (
                json!({"nqn": "a", "count": 10}),
                "count: a whole number from 0 to 9 wanted, 10 came",
            ),
            (
                json!({"nqn": "a", "count": -1}),
                "count: a whole number from 0 to 9 wanted, -1 came",
            ),
            (
                json!({"nqn": "a", "count": 1.5}),
                "count: a whole number from 0 to 9 wanted, 1.5 came",
            ),
            (
                json!({"nqn": "a", "on": "yes"}),
                "on: true or false wanted, a string came",
            ),
            (
                json!({"nqn": "a", "off": 1}),
                "\"off\" is no parameter here; there are: nqn, count, on, at",
            ),
            (
                json!({"nqn": "a", "at": {}}),
                "at.port: a string of at most 1024 bytes wanted, nothing came",
            ),
            (
                json!({"nqn": "a", "at": {"x": 1}}),
                "at.\"x\" is no parameter here; there are: port",
            ),
            (
                json!({"nqn": "a".repeat(1025)}),
                "nqn: a string of at most 1024 bytes wanted, one of 1025 bytes came",
            ),
        ] {
            let error = METHOD.check(Some(params.clone())).expect_err("wrong");
            assert_eq!(error.message, message, "{params}");
            assert_eq!(error.code, crate::message::code::INVALID_PARAMS);
        }
    }

    #[test]
    fn bytes_are_taken_in_any_base64_and_no_more_than_allowed() {
        let bytes = [0xFB, 0xFF, 0xFE, 0x01];
        for text in ["-__-AQ==", "+//+AQ==", "-__-AQ"] {
            assert_eq!(decode(text).expect(text), bytes);
        }
        assert_eq!(encode(&bytes), "-__-AQ==");
        for (text, came) in [("AAAAAAAA", "6 bytes"), ("?", "another text")] {
            let error = Kind::Data(4).check(json!(text), "d").expect_err("wrong");
            let wanted = format!("d: at most 4 bytes in base64 wanted, {came} came");
            assert_eq!(error, wanted);
        }
        assert!(Kind::Data(4).check(json!(""), "d").is_ok());
        assert!(Kind::Data(4).check(json!(7), "d").is_err());
    }

    #[test]
    fn null_counts_as_left_out() {
        let params = METHOD
            .check(Some(json!({"nqn": "a", "on": null})))
            .expect("good");
        assert_eq!((params.need("nqn"), params.flag("on")), ("a", None));
    }
}
