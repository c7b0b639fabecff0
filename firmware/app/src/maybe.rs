//! An `Option` that is all zeros while it is empty. The compiler is free to mark an empty `Option` with a value that its content
//! never has, and one such byte in a core's state would put all of the state into the image.

use heapless::Vec;

/// A value, or none.
pub struct Maybe<T>(Vec<T, 1, u8>);

impl<T> Maybe<T> {
    pub const NONE: Self = Self(Vec::new());

    pub fn is_some(&self) -> bool {
        !self.0.is_empty()
    }

    pub fn as_ref(&self) -> Option<&T> {
        self.0.first()
    }

    pub fn take(&mut self) -> Option<T> {
        self.0.pop()
    }

    /// Replaces what was there.
    pub fn insert(&mut self, value: T) {
        self.0.clear();
        let pushed = self.0.push(value);
        debug_assert!(pushed.is_ok(), "it was empty");
    }

    /// What is there, or what `make` makes.
    pub fn get_or_try_insert<E>(
        &mut self,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<&mut T, E> {
        if self.0.is_empty() {
            self.insert(make()?);
        }
        Ok(&mut self.0[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_one_value_at_a_time() {
        let mut maybe = Maybe::NONE;
        assert!(!maybe.is_some() && maybe.as_ref().is_none());
        maybe.insert(1);
        maybe.insert(2);
        assert_eq!(maybe.as_ref(), Some(&2));
        let kept = maybe.get_or_try_insert(|| Err("not asked for"));
        assert_eq!(kept, Ok(&mut 2));
        assert_eq!((maybe.take(), maybe.take()), (Some(2), None));
        assert_eq!(maybe.get_or_try_insert(|| Err(3)), Err(3));
        assert_eq!(maybe.get_or_try_insert(|| Ok::<_, ()>(4)), Ok(&mut 4));
    }
}
