//! A parameter file, mapped into memory.
//!
//! The format is `bellperson`'s (`groth16::Parameters::write`): the verifying key, then five lists of uncompressed points,
//! each with its length as a big-endian 32-bit number: h, l, a, b in G1, b in G2.
//!
//! Points are converted when they are used. That costs two multiplications for a point that is then added some sixteen
//! times; no more of the file is held than the points of one list that are used.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bellperson::groth16::VerifyingKey;
use blstrs::Bls12;
use memmap2::Mmap;

use crate::curve::{Affine, Curve, G1, G2};

/// Bytes of a verifying key without the points of the public inputs, and of their number.
const KEY_BYTES: usize = 3 * G1::BYTES + 3 * G2::BYTES;
const LENGTH_BYTES: usize = 4;

/// A mapped parameter file. Others may read it at the same time; nobody may cut it.
pub struct Parameters {
    path: PathBuf,
    data: Mmap,
    key: VerifyingKey<Bls12>,
    h: List,
    l: List,
    a: List,
    b_g1: List,
    b_g2: List,
}

/// Where a list of points lies in the file.
#[derive(Clone, Copy)]
struct List {
    start: usize,
    count: usize,
}

/// The points of a list.
pub struct Points<'a, C> {
    bytes: &'a [u8],
    curve: std::marker::PhantomData<C>,
}

impl<C: Curve> Points<'_, C> {
    pub const fn len(&self) -> usize {
        self.bytes.len() / C::BYTES
    }

    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Read a point. Whether it is on the curve is not checked.
    #[inline]
    pub fn get(&self, i: usize) -> Affine<C::Field> {
        C::read(&self.bytes[C::BYTES * i..C::BYTES * (i + 1)])
    }
}

impl Parameters {
    /// Map a file and read its verifying key. A file that is too short, too long or no parameter file is an error.
    pub fn open(path: &Path) -> Result<Self> {
        let damaged = || format!("{} is not a whole parameter file", path.display());
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        // SAFETY: parameter files are written under another name and renamed when they are whole; nobody changes them.
        let data = unsafe { Mmap::map(&file) }
            .with_context(|| format!("cannot map {}", path.display()))?;
        let key = VerifyingKey::read(&data[..]).with_context(damaged)?;
        let mut start = KEY_BYTES + LENGTH_BYTES + key.ic.len() * G1::BYTES;
        let mut list = |size: usize| -> Result<List> {
            let bytes = data
                .get(start..start + LENGTH_BYTES)
                .with_context(damaged)?;
            let count = u32::from_be_bytes(bytes.try_into()?) as usize;
            let this = List {
                start: start + LENGTH_BYTES,
                count,
            };
            start = this.start + count * size;
            ensure!(start <= data.len(), damaged());
            Ok(this)
        };
        let (h, l, a) = (list(G1::BYTES)?, list(G1::BYTES)?, list(G1::BYTES)?);
        let (b_g1, b_g2) = (list(G1::BYTES)?, list(G2::BYTES)?);
        ensure!(
            start == data.len(),
            "{}: it has {} bytes more than its lists of points",
            damaged(),
            data.len() - start
        );
        Ok(Self {
            path: path.to_owned(),
            data,
            key,
            h,
            l,
            a,
            b_g1,
            b_g2,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub const fn key(&self) -> &VerifyingKey<Bls12> {
        &self.key
    }

    fn points<C: Curve>(&self, list: List) -> Points<'_, C> {
        Points {
            bytes: &self.data[list.start..list.start + list.count * C::BYTES],
            curve: std::marker::PhantomData,
        }
    }

    /// tau^i z(tau) / delta.
    pub fn h(&self) -> Points<'_, G1> {
        self.points(self.h)
    }

    /// (beta u(tau) + alpha v(tau) + w(tau)) / delta of each auxiliary variable.
    pub fn l(&self) -> Points<'_, G1> {
        self.points(self.l)
    }

    /// u(tau) of each variable for which it is not zero.
    pub fn a(&self) -> Points<'_, G1> {
        self.points(self.a)
    }

    /// v(tau) of each variable for which it is not zero.
    pub fn b_g1(&self) -> Points<'_, G1> {
        self.points(self.b_g1)
    }

    /// The same in G2.
    pub fn b_g2(&self) -> Points<'_, G2> {
        self.points(self.b_g2)
    }

    /// Look at each point, and name the first that is on no curve: what a proof that does not verify may come from.
    pub fn check_points(&self) -> Result<()> {
        check(&self.h(), "h")?;
        check(&self.l(), "l")?;
        check(&self.a(), "a")?;
        check(&self.b_g1(), "b in G1")?;
        check(&self.b_g2(), "b in G2")
    }
}

fn check<C: Curve>(points: &Points<'_, C>, name: &str) -> Result<()> {
    use rayon::prelude::*;
    let bad = (0..points.len()).into_par_iter().find_first(|&i| {
        let point = points.get(i);
        // Lists hold no point at infinity, which passes for one on the curve.
        point.is_infinity() || !C::on_curve(&point)
    });
    match bad {
        Some(i) => bail!("point {i} of list {name} is not on the curve"),
        None => Ok(()),
    }
}
