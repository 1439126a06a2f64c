//! May a stored response answer.
