//! Who may log in to the Ethernet console: names, roles and passwords, in the state directory.
//!
//! The file `users` has a line for each user: name, role, and the hash of the password as a PHC string
//! (Argon2id), or `-` while there is none. It is readable by its owner alone and replaced atomically.
//!
//! Invariants:
//! * As long as nobody has a password everybody is let in as [`ADMIN`]; the console says so. Once somebody
//!   has one there is always an administrator who has: no change opens the console again, or shuts
//!   everybody out.
//! * A user without a password cannot log in while others have one.
//! * A file that is not understood lets nobody in: the control socket is the way to mend it.
//! * Passwords are neither kept nor told, and the answer to a wrong name takes as long as that to a wrong
//!   password.

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use console::host::Role;
use console::login::Standing;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub(crate) use console::login::ADMIN;

/// Users at most.
const USERS_MAX: usize = 64;

/// Bytes of a name at most.
const NAME_BYTES_MAX: usize = 32;

/// Characters of a new password at least.
const PASSWORD_CHARS_MIN: usize = 8;

/// Bytes of a password at most, so that nobody makes us hash megabytes.
const PASSWORD_BYTES_MAX: usize = 256;

/// One user.
#[derive(Clone, Debug)]
struct Account {
    role: Role,
    /// PHC string.
    hash: Option<String>,
}

/// All users.
#[derive(Debug)]
pub(crate) struct Accounts {
    path: PathBuf,
    /// The reason if the file was not understood.
    users: Result<BTreeMap<String, Account>, String>,
}

impl Accounts {
    /// Reads the users of a state directory.
    pub(crate) fn open(directory: &Path) -> Self {
        let path = directory.join("users");
        let users = match fs::read_to_string(&path) {
            Ok(text) => parse(&text).map_err(|reason| {
                let path = path.display();
                format!("{path}: {reason}; mend or remove it: nobody can log in until then")
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(initial()),
            Err(error) => Err(format!("{}: {error}", path.display())),
        };
        Self { path, users }
    }

    /// What is wrong with the file, if anything is.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.users.as_ref().err().map(String::as_str)
    }

    /// Whether nobody has a password, so that everybody is let in.
    pub(crate) fn is_open(&self) -> bool {
        self.users
            .as_ref()
            .is_ok_and(|users| users.values().all(|account| account.hash.is_none()))
    }

    /// Whether there are users beside the one that there always is.
    fn has_several(&self) -> bool {
        self.users.as_ref().is_ok_and(|users| users.len() > 1)
    }

    /// What a log-in has to know.
    pub(crate) fn standing(&self) -> Standing {
        Standing {
            is_open: self.is_open(),
            has_several: self.has_several(),
        }
    }

    /// Names, roles, and whether there is a password.
    pub(crate) fn list(&self) -> Result<Vec<(String, Role, bool)>, String> {
        let row = |(name, account): (&String, &Account)| {
            (name.clone(), account.role, account.hash.is_some())
        };
        self.users().map(|users| users.iter().map(row).collect())
    }

    /// What has to be computed, outside of any lock, to know whether a password is right.
    pub(crate) fn check(&self, name: &str) -> Check {
        let account = self.users.as_ref().ok().and_then(|users| users.get(name));
        Check {
            role: account.map(|account| account.role),
            hash: account.and_then(|account| account.hash.clone()),
        }
    }

    /// Sets a password.
    pub(crate) fn set_password(&mut self, name: &str, password: &str) -> Result<(), String> {
        let characters = password.chars().count();
        if characters < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
            return Err(format!(
                "a password has {PASSWORD_CHARS_MIN} characters at least, and {PASSWORD_BYTES_MAX} bytes at most"
            ));
        }
        if !self.users()?.contains_key(name) {
            return Err(no_such(name));
        }
        let hash = hash(password)?;
        let users = self.changed(|users| {
            if let Some(account) = users.get_mut(name) {
                account.hash = Some(hash);
            }
            Ok(())
        })?;
        self.store(users)
    }

    /// Whether [`Accounts::change`] would do it, but for writing the file.
    pub(crate) fn check_change(&self, change: &Change<'_>) -> Result<(), String> {
        self.changed(|users| change.apply(users)).map(drop)
    }

    /// Adds or removes a user, or gives one another role.
    pub(crate) fn change(&mut self, change: &Change<'_>) -> Result<(), String> {
        let users = self.changed(|users| change.apply(users))?;
        self.store(users)
    }

    fn users(&self) -> Result<&BTreeMap<String, Account>, String> {
        self.users.as_ref().map_err(Clone::clone)
    }

    /// The users after a change, if an administrator with a password is left then (or nobody has one at all).
    fn changed(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, Account>) -> Result<(), String>,
    ) -> Result<BTreeMap<String, Account>, String> {
        let was_open = self.is_open();
        let mut users = self.users()?.clone();
        change(&mut users)?;
        let can_administer =
            |account: &Account| account.role == Role::Admin && account.hash.is_some();
        let has_passwords = users.values().any(|account| account.hash.is_some());
        if (has_passwords || !was_open) && !users.values().any(can_administer) {
            return Err(
                "no administrator with a password would be left; set one first: passwd".to_owned(),
            );
        }
        Ok(users)
    }

    /// Makes a change durable; else the old users hold.
    fn store(&mut self, users: BTreeMap<String, Account>) -> Result<(), String> {
        store(&self.path, &render(&users))
            .map_err(|error| format!("{}: {error}", self.path.display()))?;
        self.users = Ok(users);
        Ok(())
    }
}

/// A change of who may log in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'a> {
    /// Adds a user without a password.
    Add(&'a str, Role),
    /// Removes a user.
    Remove(&'a str),
    /// Gives a user another role.
    SetRole(&'a str, Role),
}

impl Change<'_> {
    fn apply(&self, users: &mut BTreeMap<String, Account>) -> Result<(), String> {
        match *self {
            Self::Add(name, role) => {
                check_name(name)?;
                if users.len() >= USERS_MAX {
                    return Err(format!("there are {USERS_MAX} users already"));
                }
                if users.contains_key(name) {
                    return Err(format!("user {name} exists already"));
                }
                users.insert(name.to_owned(), Account { role, hash: None });
            }
            Self::Remove(ADMIN) => return Err(format!("user {ADMIN} always exists")),
            Self::Remove(name) => drop(users.remove(name).ok_or_else(|| no_such(name))?),
            Self::SetRole(ADMIN, Role::Reader) => {
                return Err(format!("user {ADMIN} is always an administrator"));
            }
            Self::SetRole(name, role) => {
                users.get_mut(name).ok_or_else(|| no_such(name))?.role = role;
            }
        }
        Ok(())
    }
}

/// A password to be checked. Takes a while and some memory, as it should for whoever guesses.
#[derive(Debug)]
pub(crate) struct Check {
    role: Option<Role>,
    hash: Option<String>,
}

impl Check {
    /// The role of the user, if the password is right.
    pub(crate) fn verify(&self, password: &str) -> Option<Role> {
        if password.len() > PASSWORD_BYTES_MAX {
            return None;
        }
        // A hash that no password has, for names that do not exist.
        let nobody = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5$\
                      AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let stored = PasswordHash::new(self.hash.as_deref().unwrap_or(nobody)).ok()?;
        let right = Argon2::default()
            .verify_password(password.as_bytes(), &stored)
            .is_ok();
        self.role.filter(|_| right && self.hash.is_some())
    }
}

fn no_such(name: &str) -> String {
    format!("user {name} does not exist")
}

fn check_name(name: &str) -> Result<(), String> {
    let is_right = name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-'));
    if is_right {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no user name: {NAME_BYTES_MAX} lower-case letters, digits, dots and dashes at most, \
         a letter first"
    ))
}

fn hash(password: &str) -> Result<String, String> {
    let mut salt = [0; 16];
    let filled = rustix::rand::getrandom(&mut salt, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| format!("no random numbers: {error}"))?;
    if filled != salt.len() {
        return Err("no random numbers".to_owned());
    }
    let hash = SaltString::encode_b64(&salt)
        .and_then(|salt| {
            let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
            hash.map(|hash| hash.to_string())
        })
        .map_err(|error| format!("cannot hash the password: {error}"))?;
    Ok(hash)
}

/// The users of a new shelf.
fn initial() -> BTreeMap<String, Account> {
    let admin = Account {
        role: Role::Admin,
        hash: None,
    };
    BTreeMap::from([(ADMIN.to_owned(), admin)])
}

fn render(users: &BTreeMap<String, Account>) -> String {
    let line = |(name, account): (&String, &Account)| {
        let hash = account.hash.as_deref().unwrap_or("-");
        format!("{name} {} {hash}\n", account.role)
    };
    users.iter().map(line).collect()
}

fn parse(text: &str) -> Result<BTreeMap<String, Account>, String> {
    let mut users = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = |what: &str| format!("line {}: {what}", index + 1);
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, role, hash] = words[..] else {
            return Err(wrong("not a name, a role and a hash"));
        };
        check_name(name).map_err(|reason| wrong(&reason))?;
        let role = parse_role(role).ok_or_else(|| wrong("no such role"))?;
        let hash = match hash {
            "-" => None,
            hash => {
                PasswordHash::new(hash).map_err(|error| wrong(&error.to_string()))?;
                Some(hash.to_owned())
            }
        };
        if users
            .insert(name.to_owned(), Account { role, hash })
            .is_some()
        {
            return Err(wrong("a user for the second time"));
        }
    }
    match users.get(ADMIN) {
        Some(admin) if admin.role == Role::Admin => Ok(users),
        _ => Err(format!("no administrator {ADMIN}")),
    }
}

/// The role of this name.
pub(crate) fn parse_role(word: &str) -> Option<Role> {
    [Role::Admin, Role::Reader]
        .into_iter()
        .find(|role| role.name() == word)
}

/// Replaces the file; durable and atomic when this returns, and never readable by others.
fn store(path: &Path, content: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    // What an earlier attempt left may have other permissions.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const SECRET: &str = "correct horse";

    fn open() -> (tempfile::TempDir, Accounts) {
        let directory = tempfile::tempdir().unwrap();
        let accounts = Accounts::open(directory.path());
        (directory, accounts)
    }

    #[test]
    fn a_new_shelf_is_open_until_the_first_password() {
        let (directory, mut accounts) = open();
        assert!(accounts.is_open() && accounts.trouble().is_none());
        accounts.set_password(ADMIN, SECRET).unwrap();
        let again = Accounts::open(directory.path());
        for accounts in [&accounts, &again] {
            assert!(!accounts.is_open());
            assert_eq!(accounts.check(ADMIN).verify(SECRET), Some(Role::Admin));
            assert_eq!(accounts.check(ADMIN).verify("wrong horse"), None);
            assert_eq!(accounts.check(ADMIN).verify(""), None);
            assert_eq!(accounts.check("nobody").verify(SECRET), None);
        }
    }

    #[test]
    fn the_file_is_for_its_owner_and_has_no_password() {
        let (directory, mut accounts) = open();
        accounts.set_password(ADMIN, SECRET).unwrap();
        let path = directory.path().join("users");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("admin admin $argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(!text.contains("horse"));
        accounts.set_password(ADMIN, SECRET).unwrap();
        assert_ne!(fs::read_to_string(&path).unwrap(), text, "another salt");
    }

    #[test]
    fn users_come_change_and_go() {
        let (directory, mut accounts) = open();
        accounts.set_password(ADMIN, SECRET).unwrap();
        accounts.change(&Change::Add("ann", Role::Reader)).unwrap();
        assert_eq!(accounts.check("ann").verify("-"), None, "no password yet");
        accounts.set_password("ann", "battery staple").unwrap();
        let check = accounts.check("ann");
        assert_eq!(check.verify("battery staple"), Some(Role::Reader));
        accounts
            .change(&Change::SetRole("ann", Role::Admin))
            .unwrap();
        let again = Accounts::open(directory.path());
        let expected = [
            ("admin".to_owned(), Role::Admin, true),
            ("ann".to_owned(), Role::Admin, true),
        ];
        assert_eq!(again.list().unwrap(), expected);
        accounts.change(&Change::Remove("ann")).unwrap();
        assert!(!accounts.has_several());
    }

    #[test]
    fn a_check_refuses_what_the_change_refuses_and_changes_nothing() {
        let (_directory, mut accounts) = open();
        accounts.set_password(ADMIN, SECRET).unwrap();
        let mut refused = 0;
        for change in [
            Change::Add("ann", Role::Reader),
            Change::Add("ann", Role::Admin),
            Change::Add("Ann", Role::Admin),
            Change::Add(ADMIN, Role::Admin),
            Change::SetRole("ann", Role::Admin),
            Change::SetRole("nobody", Role::Admin),
            Change::SetRole(ADMIN, Role::Reader),
            Change::SetRole(ADMIN, Role::Admin),
            Change::Remove(ADMIN),
            Change::Remove("nobody"),
            Change::Remove("ann"),
        ] {
            let before = accounts.list();
            let checked = accounts.check_change(&change);
            assert_eq!(accounts.list(), before, "{change:?}");
            refused += usize::from(checked.is_err());
            assert_eq!(accounts.change(&change), checked, "{change:?}");
        }
        assert_eq!(refused, 7);
    }

    #[test]
    fn wrong_changes_are_refused_and_change_nothing() {
        let (directory, mut accounts) = open();
        let long = "a".repeat(33);
        for name in ["", "Ann", "a b", "1a", "a\n", &long] {
            assert!(
                accounts.change(&Change::Add(name, Role::Reader)).is_err(),
                "{name:?}"
            );
        }
        assert!(accounts.change(&Change::Add(ADMIN, Role::Admin)).is_err());
        assert!(accounts.change(&Change::Remove(ADMIN)).is_err());
        assert!(
            accounts
                .change(&Change::SetRole(ADMIN, Role::Reader))
                .is_err()
        );
        for name in ["nobody", ""] {
            assert!(accounts.change(&Change::Remove(name)).is_err());
            assert!(
                accounts
                    .change(&Change::SetRole(name, Role::Admin))
                    .is_err()
            );
            assert!(accounts.set_password(name, SECRET).is_err());
        }
        for password in ["", "short", &"x".repeat(257)] {
            assert!(accounts.set_password(ADMIN, password).is_err());
        }
        assert!(!directory.path().join("users").exists());
        accounts.change(&Change::Add("ann", Role::Reader)).unwrap();
        let first = accounts.set_password("ann", SECRET);
        assert!(
            first.unwrap_err().contains("no administrator"),
            "nobody could administer"
        );
    }

    #[test]
    fn a_file_that_is_not_understood_lets_nobody_in() {
        let hash = hash(SECRET).unwrap();
        for text in [
            "",
            "admin admin",
            "admin admin x",
            "admin king -",
            "admin read-only -",
            "ann admin -",
            &format!("admin admin {hash}\nadmin admin -"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("users"), text).unwrap();
            let mut accounts = Accounts::open(directory.path());
            assert!(!accounts.is_open(), "{text:?}");
            assert!(accounts.trouble().unwrap().contains("users: "));
            assert_eq!(accounts.check(ADMIN).verify(SECRET), None);
            assert!(accounts.set_password(ADMIN, SECRET).is_err());
            assert_eq!(
                fs::read_to_string(directory.path().join("users")).unwrap(),
                text
            );
        }
    }
}
