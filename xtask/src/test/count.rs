//! How many tests passed and failed, from what nextest or `cargo test` print at their end, and what tests that passed had to say.

use std::collections::BTreeMap;

/// Passed and failed; `None` if there is no summary at all.
pub fn tests(output: &str) -> Option<(u32, u32)> {
    // Nextest shows what each test printed, and each is a program that ends with a summary of its own.
    let nextest = |line: &&str| line.trim_start().starts_with("Summary [");
    let summary = match output.lines().find(nextest) {
        Some(_) => "Summary [",
        None => "test result:",
    };
    let mut found = None;
    for line in output.lines() {
        let line = line.trim_start();
        if line.starts_with(summary) {
            let (passed, failed) = found.unwrap_or((0, 0));
            let bad = number_before(line, " failed") + number_before(line, " timed out");
            found = Some((passed + number_before(line, " passed"), failed + bad));
        }
    }
    found
}

/// What tests left out, and how often: a test that lacks something says `skipped: WHY`, one whose capture is bad on purpose
/// `NAME: capture not judged: WHY`.
pub fn remarks(output: &str) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    for line in output.lines() {
        let said = ["skipped: ", "capture not judged: "]
            .iter()
            .find_map(|what| line.find(what).map(|at| &line[at..]));
        if let Some(said) = said {
            *found.entry(said.trim_end().to_owned()).or_default() += 1;
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
    use super::{remarks, tests};

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

    #[test]
    fn summaries_inside_what_nextest_shows_of_a_test_do_not_count() {
        let log = "    test result: ok. 1 passed; 0 failed; 0 ignored\n\
                   test result: FAILED. 0 passed; 1 failed; 0 ignored\n\
                   Summary [   0.1s] 2 tests run: 1 passed, 1 failed, 0 skipped\n";
        assert_eq!(tests(log), Some((1, 1)));
    }

    #[test]
    fn what_tests_leave_out_is_counted_by_its_reason() {
        let log = "    skipped: needs root\nseed 3\nskipped: needs root\n\
                   malformed-rtl: capture not judged: malformed PDUs on purpose\n\
                   Summary [   0.1s] 2 tests run: 2 passed, 3 skipped\n";
        let wanted = [
            (
                "capture not judged: malformed PDUs on purpose".to_owned(),
                1,
            ),
            ("skipped: needs root".to_owned(), 2),
        ];
        assert_eq!(remarks(log), wanted.into());
    }
}
