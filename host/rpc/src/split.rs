//! JSON texts out of a stream. SPDK's clients send one object after another, in pieces and without newlines or lengths, so the
//! end of a text is where its brackets close. Whether what lies between is JSON is for the parser to say.

/// Collects bytes until a whole text is there.
#[derive(Debug)]
pub struct Splitter {
    bytes: Vec<u8>,
    /// Bytes looked at.
    seen: usize,
    /// Brackets open.
    depth: usize,
    state: State,
    limit: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Plain,
    Text,
    /// Behind a backslash.
    Escape,
}

/// A stream that cannot be understood any further.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SplitError {
    /// A text is larger than allowed.
    #[error("a request of at most {limit} bytes wanted, more than that came; ask for less at once")]
    TooLong {
        /// Most bytes.
        limit: usize,
    },
    /// Something that is neither an object nor an array.
    #[error("a JSON object or array wanted, byte {byte:#04x} came")]
    Stray {
        /// What came.
        byte: u8,
    },
}

impl Splitter {
    /// Texts of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            seen: 0,
            depth: 0,
            state: State::Plain,
            limit,
        }
    }

    /// Takes what came. Give no more than a few kilobytes at once: only [`Splitter::next_text`] looks at the limit.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole text; `None` if more has to come first.
    ///
    /// # Errors
    /// [`SplitError`]; the stream cannot be taken up again after it.
    pub fn next_text(&mut self) -> Result<Option<Vec<u8>>, SplitError> {
        self.skip_space();
        while let Some(&byte) = self.bytes.get(self.seen) {
            if self.depth == 0 && !matches!(byte, b'{' | b'[') {
                return Err(SplitError::Stray { byte });
            }
            self.seen += 1;
            if self.seen > self.limit {
                return Err(SplitError::TooLong { limit: self.limit });
            }
            self.state = match (self.state, byte) {
                (State::Escape, _) | (State::Plain, b'"') => State::Text,
                (State::Text, b'\\') => State::Escape,
                (State::Text, b'"') => State::Plain,
                (state, _) => state,
            };
            if self.state == State::Plain {
                match byte {
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => self.depth -= 1,
                    _ => {}
                }
                if self.depth == 0 {
                    let rest = self.bytes.split_off(self.seen);
                    self.seen = 0;
                    return Ok(Some(std::mem::replace(&mut self.bytes, rest)));
                }
            }
        }
        Ok(None)
    }

    /// A text has begun and not ended.
    #[must_use]
    pub fn is_within(&self) -> bool {
        self.depth > 0
    }

    fn skip_space(&mut self) {
        if self.depth == 0 {
            let space = |b: &&u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
            let n = self.bytes.iter().take_while(space).count();
            self.bytes.drain(..n);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(splitter: &mut Splitter) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(text) = splitter.next_text().expect("good") {
            texts.push(String::from_utf8(text).expect("text"));
        }
        texts
    }

    #[test]
    fn texts_back_to_back_are_told_apart_without_newlines() {
        let mut s = Splitter::new(100);
        s.push(br#"{"a":"}\"{"}[1,{"b":[]}]  {"#);
        assert_eq!(all(&mut s), [r#"{"a":"}\"{"}"#, r#"[1,{"b":[]}]"#]);
        assert!(s.is_within());
        s.push(b"}");
        assert_eq!(all(&mut s), ["{}"]);
        assert!(!s.is_within());
    }

    #[test]
    fn a_text_that_never_ends_is_given_up_at_the_limit() {
        let mut s = Splitter::new(10);
        s.push(b"{\"aaaaaaa\"");
        assert_eq!(s.next_text(), Ok(None));
        s.push(b"a");
        assert_eq!(s.next_text(), Err(SplitError::TooLong { limit: 10 }));
    }

    #[test]
    fn what_is_no_object_or_array_is_refused_at_once() {
        for (bytes, byte) in [(&b" }"[..], b'}'), (b"1", b'1'), (b"\0", 0), (b"{}x", b'x')] {
            let mut s = Splitter::new(10);
            s.push(bytes);
            let mut last = s.next_text();
            while let Ok(Some(_)) = last {
                last = s.next_text();
            }
            assert_eq!(last, Err(SplitError::Stray { byte }));
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_stream_is_cut(
            values in prop::collection::vec("[a-z\"\\\\{}\\[\\] ]{0,12}", 1..6),
            cuts in prop::collection::vec(1_usize..9, 1..40),
        ) {
            let texts: Vec<String> = (values.iter())
                .map(|v| serde_json::json!({ "k": [v] }).to_string())
                .collect();
            let stream = texts.concat().into_bytes();
            let mut s = Splitter::new(1000);
            let mut got = Vec::new();
            let (mut at, mut cut) = (0, cuts.iter().cycle());
            while at < stream.len() {
                let n = (*cut.next().expect("endless")).min(stream.len() - at);
                s.push(&stream[at..at + n]);
                at += n;
                got.extend(all(&mut s));
            }
            prop_assert_eq!(got, texts);
        }
    }
}
