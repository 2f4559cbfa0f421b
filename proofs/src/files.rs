//! Files that a call needs: looked at before the call, so that the error can say which one is missing.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::Result;

use crate::errors::FileProblem;

/// Name of tree-d, the tree over the unsealed data, in a cache folder.
pub const TREE_D: &str = "sc-02-data-tree-d.dat";

/// A regular file that can be read.
pub fn readable(path: &Path) -> Result<Metadata> {
    let meta = look_at(path)?;
    if !meta.is_file() {
        return Err(FileProblem::new(path, "is not a regular file").into());
    }
    File::open(path).map_err(|error| explain(path, &error))?;
    Ok(meta)
}

/// A regular file that can be read and written.
pub fn writable(path: &Path) -> Result<Metadata> {
    let meta = readable(path)?;
    OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(|error| explain(path, &error))?;
    Ok(meta)
}

/// Refuse a file of another size than expected.
pub fn of_size(path: &Path, meta: &Metadata, bytes: u64) -> Result<()> {
    if meta.len() == bytes {
        return Ok(());
    }
    let problem = format!("has {} bytes, {bytes} are expected", meta.len());
    Err(FileProblem::new(path, problem).into())
}

/// A folder that can be listed.
pub fn folder(path: &Path) -> Result<()> {
    if !look_at(path)?.is_dir() {
        return Err(FileProblem::new(path, "is not a folder").into());
    }
    fs::read_dir(path).map_err(|error| explain(path, &error))?;
    Ok(())
}

/// A folder with these files in it.
pub fn folder_with(path: &Path, names: &[&str]) -> Result<()> {
    folder(path)?;
    for name in names {
        readable(&path.join(name))?;
    }
    Ok(())
}

/// The folder in which a file is to be made.
pub fn parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder_of) if !folder_of.as_os_str().is_empty() => folder(folder_of),
        _ => Ok(()),
    }
}

fn look_at(path: &Path) -> Result<Metadata, FileProblem> {
    fs::metadata(path).map_err(|error| explain(path, &error))
}

pub fn explain(path: &Path, error: &io::Error) -> FileProblem {
    let problem = match error.kind() {
        ErrorKind::NotFound => match fs::read_link(path) {
            Ok(target) => format!("is a link to {}, which is not found", target.display()),
            Err(_) => "is not found".to_owned(),
        },
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    FileProblem::new(path, problem)
}
