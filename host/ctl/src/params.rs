//! From a command line to a method's parameters. What the daemon would refuse for its form is refused here with the same words.

use std::io::{self, Read};

use clap::ArgMatches;
use serde_json::{Map, Value};
use sluice_rpc::method::{Kind, Method, Param};

/// Longest file that is taken as a parameter: the daemon takes no longer request.
const MAX_FILE: u64 = 1 << 20;

/// Parameters that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ParamError {
    /// Their form is wrong.
    #[error("{0}")]
    Form(String),
    /// A file of them cannot be read.
    #[error("{path}: {error}")]
    Unreadable {
        /// What was to be read.
        path: String,
        /// Why it was not.
        error: io::Error,
    },
    /// They are not JSON.
    #[error("{path}: a JSON text wanted: {error}")]
    Json {
        /// Where they come from.
        path: String,
        /// What is wrong.
        error: serde_json::Error,
    },
}

/// The parameters of `method` that a command line gives; null if there are none.
///
/// # Errors
/// [`ParamError`].
pub fn from_matches(method: &Method, matches: &ArgMatches) -> Result<Value, ParamError> {
    let mut object = Map::new();
    for param in method.params {
        let value = match param.kind {
            Kind::Object(members) => {
                let mut inner = Map::new();
                for member in members {
                    if let Some(value) = value(member, matches)? {
                        inner.insert(member.name.into(), value);
                    }
                }
                (!inner.is_empty()).then_some(Value::Object(inner))
            }
            Kind::Bool if param.required => Some(Value::Bool(matches.get_flag("enable"))),
            _ => value(param, matches)?,
        };
        if let Some(value) = value {
            object.insert(param.name.into(), value);
        }
    }
    let params = if object.is_empty() {
        Value::Null
    } else {
        Value::Object(object)
    };
    let checked = method.check(Some(params.clone()));
    checked.map_err(|e| ParamError::Form(e.message))?;
    Ok(params)
}

/// Parameters written as JSON: a text, `@` and a file, or `-` for standard input.
///
/// # Errors
/// [`ParamError`].
pub fn from_text(text: &str) -> Result<Value, ParamError> {
    match text.strip_prefix('@') {
        Some(path) => read(path),
        None if text == "-" => read("-"),
        None => serde_json::from_str(text).map_err(|error| {
            let path = "parameters".into();
            ParamError::Json { path, error }
        }),
    }
}

fn value(param: &Param, matches: &ArgMatches) -> Result<Option<Value>, ParamError> {
    Ok(match param.kind {
        Kind::Number(_) => matches.get_one::<u64>(param.name).map(|n| Value::from(*n)),
        Kind::Bool => {
            (matches.get_one::<String>(param.name)).map(|text| Value::Bool(text == "true"))
        }
        Kind::Text | Kind::Data(_) => {
            (matches.get_one::<String>(param.name)).map(|text| Value::from(text.as_str()))
        }
        Kind::Json => (matches.get_one::<String>(param.name))
            .map(|path| read(path))
            .transpose()?,
        Kind::Object(_) | Kind::Absent => None,
    })
}

/// A JSON text from a file, or from standard input.
fn read(path: &str) -> Result<Value, ParamError> {
    let unreadable = |error| ParamError::Unreadable {
        path: path.into(),
        error,
    };
    let mut text = String::new();
    let mut from: Box<dyn Read> = match path {
        "-" => Box::new(io::stdin()),
        path => Box::new(std::fs::File::open(path).map_err(unreadable)?),
    };
    let limited = &mut from.by_ref().take(MAX_FILE + 1);
    limited.read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE {
        return Err(ParamError::Form(format!(
            "{path}: at most {MAX_FILE} bytes wanted, more came"
        )));
    }
    serde_json::from_str(&text).map_err(|error| ParamError::Json {
        path: path.into(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_rpc::methods;

    use super::*;
    use crate::cli;

    fn params(line: &str) -> Result<Value, ParamError> {
        let matches = cli::command()
            .try_get_matches_from(line.split_whitespace())
            .unwrap_or_else(|e| panic!("{line}: {e}"));
        let (name, matches) = matches.subcommand().expect("there is one");
        from_matches(methods::find(name).expect("a method"), matches)
    }

    #[test]
    fn lines_written_for_rpc_py_mean_the_same_here() {
        for (line, want) in [
            ("sluicectl nvmf_get_subsystems", Value::Null),
            (
                "sluicectl nvmf_get_subsystems nqn.2026-01.x:a",
                json!({"nqn": "nqn.2026-01.x:a"}),
            ),
            (
                "sluicectl nvmf_create_transport -t TCP -q 128 -c 8192",
                json!({"trtype": "TCP", "max_queue_depth": 128, "in_capsule_data_size": 8192}),
            ),
            (
                "sluicectl nvmf_create_subsystem nqn.2026-01.x:a -a -s S1 --model-number M -m 8 --min_cntlid 1",
                json!({"nqn": "nqn.2026-01.x:a", "allow_any_host": true, "serial_number": "S1", "model_number": "M",
                    "max_namespaces": 8, "min_cntlid": 1}),
            ),
            (
                "sluicectl nvmf_subsystem_add_ns nqn.2026-01.x:a ssd0n1 -n 3 -u 6f1c1a4e-0b5e-4c39-8f3e-0d6a4f2b9c11",
                json!({"nqn": "nqn.2026-01.x:a", "namespace": {"bdev_name": "ssd0n1", "nsid": 3,
                    "uuid": "6f1c1a4e-0b5e-4c39-8f3e-0d6a4f2b9c11"}}),
            ),
            (
                "sluicectl nvmf_subsystem_add_listener nqn.2026-01.x:a -t tcp -a 192.0.2.1 -s 4420 -f ipv4",
                json!({"nqn": "nqn.2026-01.x:a", "listen_address": {"trtype": "tcp", "traddr": "192.0.2.1",
                    "trsvcid": "4420", "adrfam": "ipv4"}}),
            ),
            (
                "sluicectl nvmf_subsystem_allow_any_host nqn.2026-01.x:a -d",
                json!({"nqn": "nqn.2026-01.x:a", "allow_any_host": false}),
            ),
            (
                "sluicectl nvmf_subsystem_remove_ns nqn.2026-01.x:a 3",
                json!({"nqn": "nqn.2026-01.x:a", "nsid": 3}),
            ),
            (
                "sluicectl bdev_nvme_attach_controller -b ssd0 -t PCIe -a 0000:01:00.0",
                json!({"name": "ssd0", "trtype": "PCIe", "traddr": "0000:01:00.0"}),
            ),
            (
                "sluicectl bdev_nvme_get_controller_health_info -c ssd0",
                json!({"name": "ssd0"}),
            ),
        ] {
            assert_eq!(params(line).expect("good"), want, "{line}");
        }
    }

    #[test]
    fn what_the_daemon_would_refuse_for_its_form_is_refused_before() {
        let long = "n".repeat(2000);
        let error =
            params(&format!("sluicectl nvmf_delete_subsystem {long}")).expect_err("too long");
        assert_eq!(
            error.to_string(),
            "nqn: a string of at most 1024 bytes wanted, one of 2000 bytes came"
        );
        let line = [
            "sluicectl",
            "nvmf_subsystem_add_ns",
            "nqn.x",
            "b",
            "-n",
            "1025",
        ];
        let error = cli::command()
            .try_get_matches_from(line)
            .expect_err("out of range");
        assert!(error.to_string().contains("1025"), "{error}");
    }

    #[test]
    fn parameters_in_json_come_from_the_line_or_a_file() {
        assert_eq!(from_text(r#"{"a":1}"#).expect("good"), json!({"a": 1}));
        let error = from_text("{").expect_err("cut short").to_string();
        assert!(
            error.starts_with("parameters: a JSON text wanted"),
            "{error}"
        );
        let error = from_text("@/nonexistent/x.json")
            .expect_err("no file")
            .to_string();
        assert!(error.starts_with("/nonexistent/x.json: "), "{error}");
    }
}
