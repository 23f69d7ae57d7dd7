#![allow(clippy::cast_possible_truncation)]
