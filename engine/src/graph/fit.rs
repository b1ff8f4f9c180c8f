//! Validates a part of the tree against a JSON schema and says in our own words what does not fit.

use std::collections::HashSet;

use jsonschema::{
    ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind as Kind},
    paths::{Location as Pointer, LocationSegment},
};
use serde_json::Value;

use super::{place::Places, wording};
use crate::{
    schema::bound_integers,
    source::{Mistake, Path, list, nearest},
};

/// A schema, ready to be used.
pub(super) struct Fit {
    schema: Value,
    validator: Validator,
}

/// A value that does not fit, and what is to be said about it.
pub(super) struct Misfit {
    /// The value, from the top of the file.
    pub(super) path: Path,
    /// The key that is missing, or that was meant by an unknown one.
    key: Option<String>,
    /// Nothing is said of what only follows from another misfit.
    pub(super) mistake: Option<Mistake>,
}

/// What is validated, and where it stands.
pub(super) struct Subject<'a> {
    pub(super) places: &'a Places<'a>,
    /// The way from the top of the file to the value.
    pub(super) base: Path,
    pub(super) value: &'a Value,
    /// What the whole value is called in messages.
    pub(super) name: &'a str,
}

impl Fit {
    /// # Errors
    /// What is wrong with the schema itself.
    pub(super) fn new(mut schema: Value) -> Result<Self, String> {
        bound_integers(&mut schema);
        let validator = jsonschema::draft202012::new(&schema).map_err(|e| e.to_string())?;
        Ok(Self { schema, validator })
    }

    /// Everything that does not fit.
    pub(super) fn misfits(&self, subject: &Subject<'_>) -> Vec<Misfit> {
        let mut found = Vec::new();
        for error in self.validator.iter_errors(subject.value) {
            self.explain(subject, &error, &mut found);
        }
        without_consequences(found)
    }

    fn explain(&self, subject: &Subject<'_>, error: &ValidationError<'_>, found: &mut Vec<Misfit>) {
        let path = path_of(&subject.base, error.instance_path());
        match error.kind() {
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                for key in unexpected {
                    found.push(self.unknown_key(subject, error, &path, key));
                }
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                self.alternatives(subject, error, context, found);
            }
            Kind::PropertyNames { error: inner } => {
                if let Value::String(key) = inner.instance().as_ref() {
                    let path = path.join(key);
                    let mistake = Mistake::new("pipeline::bad_name", format!("`{key}` cannot be a name"))
                        .with_labels(subject.places.key(&path, "this name"))
                        .help("a name has letters, digits, `_` and `-`, at most 64, and does not begin with `-`");
                    found.push(Misfit { path, key: None, mistake: Some(mistake) });
                }
            }
            Kind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                let owner = subject.name_of(&path);
                let known = self.parent_of(error).and_then(|schema| {
                    let about = schema.get("properties")?.get(key)?.get("description")?.as_str()?;
                    Some(format!("`{key}`: {}", wording::first_sentence(about)))
                });
                let mistake = Mistake::new("pipeline::missing_key", format!("{owner} needs `{key}`"))
                    .with_labels(subject.places.owner(&path, format!("`{key}` is missing here")))
                    .maybe_help(known);
                found.push(Misfit { path, key: Some(key.to_owned()), mistake: Some(mistake) });
            }
            _ => found.push(Self::plain(subject, error, path)),
        }
    }

    fn plain(subject: &Subject<'_>, error: &ValidationError<'_>, path: Path) -> Misfit {
        let written = subject.places.written(&path);
        let said = wording::of(error, &subject.name_of(&path), written);
        let mistake = Mistake::new(said.code, said.message)
            .with_labels(subject.places.value(&path, said.label))
            .maybe_help(said.help);
        Misfit { path, key: None, mistake: Some(mistake) }
    }

    fn unknown_key(&self, subject: &Subject<'_>, error: &ValidationError<'_>, path: &Path, key: &str) -> Misfit {
        let known: Vec<&str> = self
            .parent_of(error)
            .and_then(|schema| schema.get("properties")?.as_object())
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .collect();
        let meant = nearest(key, known.iter().copied());
        let help = match (meant, known.as_slice()) {
            (Some(meant), _) => format!("did you mean `{meant}`?"),
            (None, []) => "remove it".to_owned(),
            (None, [only]) => format!("the only key here is `{only}`"),
            (None, known) => format!("the keys here are {}", list(known.iter().copied())),
        };
        let path_of_key = path.join(key);
        let mistake = Mistake::new("pipeline::unknown_key", format!("{} has no key `{key}`", subject.name_of(path)))
            .with_labels(subject.places.key(&path_of_key, "unknown key"))
            .help(help);
        Misfit { path: path_of_key, key: meant.map(str::to_owned), mistake: Some(mistake) }
    }

    /// Of several alternatives the one that was probably meant is explained; when the type fits none of them, all are named.
    fn alternatives(
        &self,
        subject: &Subject<'_>,
        error: &ValidationError<'_>,
        context: &[Vec<ValidationError<'static>>],
        found: &mut Vec<Misfit>,
    ) {
        let at = error.instance_path();
        let other_type = |branch: &[ValidationError<'static>]| {
            branch.iter().any(|e| {
                e.instance_path() == at
                    && matches!(e.kind(), Kind::Type { .. } | Kind::Constant { .. } | Kind::Enum { .. })
            })
        };
        let meant = context.iter().filter(|branch| !other_type(branch)).min_by_key(|branch| branch.len());
        if let Some(branch) = meant {
            for error in branch {
                self.explain(subject, error, found);
            }
            return;
        }
        let mut options = Vec::new();
        let mut types = Vec::new();
        for error in context.iter().flatten().filter(|e| e.instance_path() == at) {
            match error.kind() {
                Kind::Constant { expected_value } => options.push((**expected_value).clone()),
                Kind::Enum { options: more } => options.extend(more.as_array().into_iter().flatten().cloned()),
                Kind::Type { kind: TypeKind::Single(one) } => types.push(one.to_string()),
                Kind::Type { kind: TypeKind::Multiple(set) } => types.extend(set.iter().map(|one| one.to_string())),
                _ => {}
            }
        }
        let path = path_of(&subject.base, at);
        let written = subject.places.written(&path);
        let said = wording::alternatives(&options, &types, error.instance(), &subject.name_of(&path), written);
        let mistake = Mistake::new(said.code, said.message)
            .with_labels(subject.places.value(&path, said.label))
            .maybe_help(said.help);
        found.push(Misfit { path, key: None, mistake: Some(mistake) });
    }

    /// The schema that holds the keyword.
    fn parent_of(&self, error: &ValidationError<'_>) -> Option<&Value> {
        let pointer = error.schema_path().as_str();
        self.schema.pointer(pointer.rsplit_once('/')?.0)
    }
}

impl Subject<'_> {
    /// What a value is called: by its path below the subject.
    fn name_of(&self, path: &Path) -> String {
        match path.0.get(self.base.0.len()..) {
            Some([]) | None => self.name.to_owned(),
            Some(below) => format!("`{}`", Path(below.to_vec())),
        }
    }
}

/// Is silent about what only follows from something else: a key that is missing because it is misspelt, and the type of
/// a value that is none of those it may be.
fn without_consequences(mut misfits: Vec<Misfit>) -> Vec<Misfit> {
    let with_code = |code: &'static str| {
        misfits.iter().filter(move |misfit| misfit.mistake.as_ref().is_some_and(|mistake| mistake.code == code))
    };
    let misspelt: HashSet<Path> = with_code("pipeline::unknown_key")
        .filter_map(|misfit| {
            let (_, owner) = misfit.path.0.split_last()?;
            Some(Path(owner.to_vec()).join(misfit.key.as_ref()?))
        })
        .collect();
    let no_option: HashSet<Path> = with_code("pipeline::unknown_value").map(|misfit| misfit.path.clone()).collect();
    for misfit in &mut misfits {
        let follows = match misfit.mistake.as_ref().map(|mistake| mistake.code) {
            Some("pipeline::missing_key") => {
                misfit.key.as_ref().is_some_and(|key| misspelt.contains(&misfit.path.join(key)))
            }
            Some("pipeline::wrong_type") => no_option.contains(&misfit.path),
            _ => false,
        };
        if follows {
            misfit.mistake = None;
        }
    }
    misfits
}

fn path_of(base: &Path, pointer: &Pointer) -> Path {
    let mut path = base.clone();
    for segment in pointer {
        path.0.push(match segment {
            LocationSegment::Property(key) => key.as_ref().into(),
            LocationSegment::Index(index) => index.into(),
        });
    }
    path
}
