//! How many tests passed and failed, from what nextest or `cargo test` print at their end.

/// Passed and failed; `None` if there is no summary at all.
pub fn tests(output: &str) -> Option<(u32, u32)> {
    let mut found = None;
    for line in output.lines() {
        let line = line.trim_start();
        if line.starts_with("Summary [") || line.starts_with("test result:") {
            let (passed, failed) = found.unwrap_or((0, 0));
            let bad = number_before(line, " failed") + number_before(line, " timed out");
            found = Some((passed + number_before(line, " passed"), failed + bad));
        }
    }
    found
}

fn number_before(line: &str, word: &str) -> u32 {
    let before = line
        .split(word)
        .next()
        .filter(|before| before.len() < line.len());
    let digits = before.and_then(|before| before.rsplit(|c: char| !c.is_ascii_digit()).next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::tests;

    #[test]
    fn the_summaries_of_both_test_runners_are_understood() {
        let nextest =
            "     Summary [   0.095s] 24 tests run: 22 passed (1 slow), 2 failed, 3 skipped";
        assert_eq!(tests(nextest), Some((22, 2)));
        let cargo = "test result: ok. 15 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\
                     test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(tests(cargo), Some((18, 1)));
        assert_eq!(tests("error: could not compile"), None);
    }
}
