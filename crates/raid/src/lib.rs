//! RAID geometry and the md v1.2 on-disk format.
#![forbid(unsafe_code)]
#![deny(clippy::cast_possible_truncation)]

pub mod geometry;
pub mod level;

pub use geometry::{Geometry, GeometryError, Mirrors, Segment, Segments};
pub use level::{Level, UnknownLevel};
