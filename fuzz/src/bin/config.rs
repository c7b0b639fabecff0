//! The operator's configuration file, TOML and JSON. Every refusal must say where and what is wrong.
#![no_main]

use sluice_driver::config::{Config, Format, Source};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for format in [Format::Toml, Format::Json] {
        let source = Source {
            file: "input".into(),
            format,
            text: text.into(),
        };
        if let Err(error) = Config::parse(source) {
            assert!(error.to_string().contains("input"), "{error}");
        }
    }
});
