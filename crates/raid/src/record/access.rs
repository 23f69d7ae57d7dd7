//! Who may use a LUN: the part of its record that is empty for most.
//!
//! Versions before this part would serve the LUN to everybody, and lose the rules with their next write. So
//! a record that has rules is of a format of its own ([`super::FORMAT_WITHHOLDING`]), which they leave alone.

use super::RecordError;
use super::text;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Most stations that a mask list, or a reservation, holds; what one frame can tell.
pub const STATIONS_MAX: usize = 255;

/// Most keys, and most stations registered under them.
pub const KEYS_MAX: usize = 255;

/// The address of a station, in wire order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Station(pub [u8; 6]);

/// Lists of stations are one run of digits: a record has to hold much else.
mod stations {
    use super::{Deserializer, Error, Serializer, Station, text};

    pub(super) fn serialize<S: Serializer>(
        stations: &[Station],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = stations.iter().flat_map(|station| station.0).collect();
        text::hex::serialize(&bytes, serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Station>, D::Error> {
        let bytes = text::hex::deserialize(deserializer)?;
        split(&bytes).ok_or_else(|| D::Error::invalid_length(bytes.len(), &"addresses of 6 bytes"))
    }

    /// The stations whose addresses lie one after the other.
    pub(super) fn split(bytes: &[u8]) -> Option<Vec<Station>> {
        let (stations, rest) = bytes.as_chunks();
        rest.is_empty()
            .then(|| stations.iter().copied().map(Station).collect())
    }
}

/// Who may use a LUN, and how.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct AccessRecord {
    /// The stations that it answers; none for all.
    #[serde(with = "stations", skip_serializing_if = "Vec::is_empty")]
    pub masks: Vec<Station>,
    /// The stations that it is reserved for, without keys; none for all. Then there are no keys.
    #[serde(with = "stations", skip_serializing_if = "Vec::is_empty")]
    pub reserved: Vec<Station>,
    /// Reservation by key.
    #[serde(skip_serializing_if = "KeyedRecord::is_default")]
    pub keyed: KeyedRecord,
    /// The number of the only VLAN that it is served in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// It is not written.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// Registrations and the reservation by key.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct KeyedRecord {
    /// RType of the reservation; 0 also when there is none.
    pub kind: u8,
    /// The key that owns the reservation, if it is of a kind with an owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<u64>,
    /// Counts changes of the registrations.
    pub generation: u32,
    /// What is registered, oldest key first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyRecord>,
}

/// A key. Written as one run of digits: its own, and those of its stations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRecord {
    /// The key; never 0.
    pub key: u64,
    /// The stations that are registered under it, each under one key only.
    pub stations: Vec<Station>,
}

impl Serialize for KeyRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = self.key.to_be_bytes().to_vec();
        bytes.extend(self.stations.iter().flat_map(|station| station.0));
        text::hex::serialize(&bytes, serializer)
    }
}

impl<'de> Deserialize<'de> for KeyRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = text::hex::deserialize(deserializer)?;
        let wrong =
            || D::Error::invalid_length(bytes.len(), &"a key of 8 bytes and addresses of 6");
        let (key, rest) = bytes.split_first_chunk().ok_or_else(wrong)?;
        Ok(Self {
            key: u64::from_be_bytes(*key),
            stations: stations::split(rest).ok_or_else(wrong)?,
        })
    }
}

impl KeyedRecord {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// How many stations are registered.
    #[must_use]
    pub fn stations(&self) -> usize {
        self.keys.iter().map(|key| key.stations.len()).sum()
    }
}

impl AccessRecord {
    /// Whether there are no rules.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it keeps its limits.
    pub(super) fn check(&self) -> Result<(), RecordError> {
        let lists = [self.masks.len(), self.reserved.len()];
        let keyed = [self.keyed.keys.len(), self.keyed.stations()];
        let is_right = lists.iter().all(|count| *count <= STATIONS_MAX)
            && keyed.iter().all(|count| *count <= KEYS_MAX)
            && (self.reserved.is_empty() || self.keyed.keys.is_empty())
            && self.vlan.is_none_or(|vlan| (1..=4094).contains(&vlan));
        is_right.then_some(()).ok_or(RecordError::Access)
    }
}
