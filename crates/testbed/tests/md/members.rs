//! Reads an array from the images of its members, by the shelf's own geometry and parity and without
//! its code for superblocks: what is looked at here, Linux wrote.

use super::content::Content;
use anyhow::{Context, Result, bail, ensure};
use aoe::SECTOR_BYTES;
use raid::parity::{self, Verdict, Wanted};
use raid::{Geometry, Level};
use std::fs;
use std::path::{Path, PathBuf};

/// The fields of an md v1.2 superblock that say where data lies.
#[derive(Debug, Clone)]
struct Superblock {
    features: u32,
    level: u32,
    size_sectors: u64,
    chunk_sectors: u32,
    members: u32,
    data_offset: u64,
    data_sectors: u64,
    recovery_offset: u64,
    dev_number: u32,
    events: u64,
    roles: Vec<u16>,
}

/// The member is rebuilt as far as its recovery offset.
const FEATURE_RECOVERY: u32 = 2;

/// Roles from here on are not those of members.
const ROLE_END: u16 = 0xff00;

impl Superblock {
    fn read(image: &[u8]) -> Result<Self> {
        let block = image.get(4096..8192).context("no superblock")?;
        let number = |at: usize, bytes: usize| {
            let taken = block[at..at + bytes].iter().rev();
            taken.fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let word = |at: usize| u32::try_from(number(at, 4));
        ensure!(word(0)? == 0xa92b_4efc, "no md magic");
        let roles = (0..number(220, 4)).map(|index| {
            let at = 256 + 2 * usize::try_from(index)?;
            Ok(u16::try_from(number(at, 2))?)
        });
        Ok(Self {
            features: word(8)?,
            level: word(72)?,
            size_sectors: number(80, 8),
            chunk_sectors: word(88)?,
            members: word(92)?,
            data_offset: number(128, 8),
            data_sectors: number(136, 8),
            recovery_offset: number(152, 8),
            dev_number: word(160)?,
            events: number(200, 8),
            roles: roles.collect::<Result<_>>()?,
        })
    }

    fn geometry(&self) -> Result<Geometry> {
        let level = match (self.level, self.members) {
            (0, _) => Level::Raid0,
            (1, 1) => Level::Jbod,
            (1, _) => Level::Raid1,
            (5, _) => Level::Raid5,
            (6, _) => Level::Raid6,
            (10, _) => Level::Raid10,
            other => bail!("level and members {other:?}"),
        };
        let used = if level == Level::Raid0 {
            self.data_sectors
        } else {
            self.size_sectors
        };
        // md rounds down to whole chunks, where there are any.
        let used = used - used % u64::from(self.chunk_sectors.max(1));
        let members = u8::try_from(self.members)?;
        Ok(Geometry::new(level, members, self.chunk_sectors, used)?)
    }
}

/// Where data begins in the image of a member, in bytes.
pub(crate) fn data_start(image: &Path) -> Result<u64> {
    Ok(Superblock::read(&fs::read(image)?)?.data_offset * SECTOR_BYTES as u64)
}

/// One member's data.
#[derive(Debug)]
struct Member {
    data: Vec<u8>,
    /// Sectors that are valid.
    done_sectors: u64,
}

impl Member {
    fn sector(&self, sector: u64) -> Option<&[u8]> {
        if sector >= self.done_sectors {
            return None;
        }
        let start = usize::try_from(sector).ok()? * SECTOR_BYTES;
        self.data.get(start..start + SECTOR_BYTES)
    }
}

/// An array, as far as its members are here and up to date.
#[derive(Debug)]
pub(crate) struct Members {
    geometry: Geometry,
    elements: Vec<Option<Member>>,
}

impl Members {
    /// Puts the images in their places; those that the freshest of them does not count as members
    /// are left out.
    pub(crate) fn open(images: &[PathBuf]) -> Result<Self> {
        let read = |path: &PathBuf| {
            let image = fs::read(path)?;
            let superblock = Superblock::read(&image).with_context(|| name(path))?;
            Ok((image, superblock))
        };
        let found = images.iter().map(read).collect::<Result<Vec<_>>>()?;
        let freshest = found.iter().map(|(_, superblock)| superblock);
        let freshest = freshest
            .max_by_key(|superblock| superblock.events)
            .context("no images")?
            .clone();
        let geometry = freshest.geometry()?;
        let mut elements: Vec<Option<Member>> = Vec::new();
        elements.resize_with(usize::from(geometry.members()), || None);
        for (image, superblock) in found {
            let role = freshest.roles[usize::try_from(superblock.dev_number)?];
            if role >= ROLE_END || superblock.events + 1 < freshest.events {
                continue;
            }
            let element = geometry.element_of_md_role(role).context("role")?;
            let start = usize::try_from(superblock.data_offset)? * SECTOR_BYTES;
            let done_sectors = if superblock.features & FEATURE_RECOVERY == 0 {
                u64::MAX
            } else {
                superblock.recovery_offset
            };
            elements[usize::from(element)] = Some(Member {
                data: image[start..].to_vec(),
                done_sectors,
            });
        }
        Ok(Self { geometry, elements })
    }

    /// Sectors of the array.
    pub(crate) const fn sectors(&self) -> u64 {
        self.geometry.capacity_sectors()
    }

    /// Compares every sector with what may be there.
    pub(crate) fn check_content(&self, content: &Content) -> Result<u64> {
        let (ours, linux) = (self.sectors(), content.sectors());
        ensure!(
            ours == linux,
            "{ours} sectors by our geometry, {linux} by md"
        );
        let mut lba = 0;
        content.check(&mut |sector| {
            self.read(lba, sector)?;
            lba += 1;
            Ok(())
        })
    }

    /// Reads a sector from a member that has it, or computes it.
    fn read(&self, lba: u64, out: &mut [u8; SECTOR_BYTES]) -> Result<()> {
        let segment = self.geometry.segments(lba, 1).next().context("segment")?;
        let mut copies = segment.mirrors.into_iter();
        let found = copies.find_map(|element| self.sector(element, segment.member_sector));
        if let Some(sector) = found {
            out.copy_from_slice(sector);
            return Ok(());
        }
        let stripe = self.stripe(segment.member_sector)?;
        let layout = self.layout(segment.member_sector)?;
        let wanted = Wanted {
            role: layout.role(segment.mirrors.first),
            out,
        };
        Ok(parity::recover(
            &stripe.data,
            stripe.p,
            stripe.q,
            &mut [wanted],
        )?)
    }

    /// That P, and Q, fit the data everywhere; levels without parity and arrays that lack a member
    /// have nothing to check.
    pub(crate) fn check_parity(&self) -> Result<u64> {
        let mut checked = 0;
        let has_parity = matches!(self.geometry.level(), Level::Raid5 | Level::Raid6);
        if !has_parity || self.elements.iter().any(Option::is_none) {
            return Ok(checked);
        }
        for sector in 0..self.geometry.member_sectors() {
            let stripe = self.stripe(sector)?;
            let data: Option<Vec<&[u8]>> = stripe.data.into_iter().collect();
            let (Some(data), Some(p)) = (data, stripe.p) else {
                // Beyond what is rebuilt.
                continue;
            };
            let verdict = parity::check_parity(&data, p, stripe.q)?;
            ensure!(
                verdict == Verdict::Consistent,
                "member sector {sector}: {verdict:?}"
            );
            checked += 1;
        }
        Ok(checked)
    }

    /// That all copies of a sector are the same.
    pub(crate) fn check_mirrors(&self) -> Result<()> {
        for set in self.geometry.mirror_sets().filter(|set| set.len() > 1) {
            let members = set.into_iter();
            let members = members.filter_map(|e| self.elements[usize::from(e)].as_ref());
            let members: Vec<&Member> = members.collect();
            for sector in 0..self.geometry.member_sectors() {
                let mut copies = members.iter().filter_map(|member| member.sector(sector));
                if let Some(first) = copies.next() {
                    ensure!(
                        copies.all(|copy| copy == first),
                        "copies differ at {sector}"
                    );
                }
            }
        }
        Ok(())
    }

    fn stripe(&self, sector: u64) -> Result<Stripe<'_>> {
        let layout = self.layout(sector)?;
        let block = |element: u8| self.sector(element, sector);
        let columns = 0..layout.columns();
        Ok(Stripe {
            data: columns.map(|column| block(layout.data(column))).collect(),
            p: block(layout.p()),
            q: layout.q().and_then(block),
        })
    }

    fn layout(&self, sector: u64) -> Result<raid::geometry::RowLayout> {
        let row = self.geometry.row_of(sector);
        let layout = self.geometry.row_layout(row);
        layout.context("too many members are lost for a level without parity")
    }

    fn sector(&self, element: u8, sector: u64) -> Option<&[u8]> {
        self.elements[usize::from(element)].as_ref()?.sector(sector)
    }
}

/// One sector of every member, by what it is; `None` when it is lost.
struct Stripe<'a> {
    data: Vec<Option<&'a [u8]>>,
    p: Option<&'a [u8]>,
    q: Option<&'a [u8]>,
}

fn name(path: &Path) -> String {
    path.display().to_string()
}
