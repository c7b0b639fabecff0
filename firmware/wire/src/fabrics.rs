//! fabrics formats.
