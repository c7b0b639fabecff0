//! Frames that no well-behaved host sends, made by hand.
