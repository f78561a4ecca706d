//! The boot loaders that a board's machines are given, from Debian's packages.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};

use super::{Content, Installer, Request};
use crate::board::{self, Board};
use crate::packages::loaders;

/// By their paths in the folder.
pub fn collect(request: &Request, installers: &[Installer]) -> Result<BTreeMap<String, Content>> {
    let mut all = BTreeMap::new();
    for one in installers {
        let board = board::load(request.boards, &one.board)?;
        all.extend(match request.loaders {
            Some(root) => of_board(&board, |_| root.to_owned())?,
            None => fetched(request, &board)?,
        });
    }
    Ok(all)
}

fn fetched(request: &Request, board: &Board) -> Result<BTreeMap<String, Content>> {
    let packages = board::unpacked(&board.netboot, None);
    if packages.is_empty() {
        return Ok(BTreeMap::new());
    }
    let dir = request.work.sub(&format!("loaders-{}", board.name))?;
    loaders::fetch(&packages, &board.arch.debian, request.mirrors, &dir)?;
    of_board(board, |package| dir.join(package))
}

/// `root_of` says where a package is unpacked.
fn of_board(
    board: &Board,
    root_of: impl Fn(&str) -> std::path::PathBuf,
) -> Result<BTreeMap<String, Content>> {
    let mut files = BTreeMap::new();
    for loader in &board.netboot {
        let root = root_of(&loader.package);
        for (from, to) in &loader.files {
            let path = root.join(from);
            ensure!(is_file(&path), missing(board, &loader.package, from, &root));
            files.insert(to.clone(), Content::Copy(path));
        }
    }
    Ok(files)
}

fn is_file(path: &Path) -> bool {
    path.is_file()
}

fn missing(board: &Board, package: &str, file: &str, root: &Path) -> String {
    format!(
        "board '{}', key 'netboot': package {package} in {} holds no {file}",
        board.name,
        root.display()
    )
}
