//! Two administrators on one shelf.
