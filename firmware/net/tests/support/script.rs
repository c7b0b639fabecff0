//! Timed scripts: segments written by hand against one stack.
