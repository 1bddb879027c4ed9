//! Reads the instructions of a Dockerfile that decide what is copied, built and started.

/// One stage of a build, from a `FROM` to the next.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// The image that it starts from.
    pub base: String,
    /// Its name after `AS`, or empty.
    pub name: String,
    /// The working folder of the steps that follow.
    pub folder: String,
    /// The files that it copies.
    pub copies: Vec<Copy>,
    /// The commands that it runs: of each `RUN` the parts between `&&`, as words.
    pub commands: Vec<Vec<String>>,
    /// The program that the image starts, with its arguments.
    pub entrypoint: Vec<String>,
}

/// A `COPY`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// The stage that the files come from; `None` for the build context.
    pub stage: Option<String>,
    /// The files and folders to copy.
    pub sources: Vec<String>,
    /// Where they go.
    pub destination: String,
}

/// Returns the stages of a Dockerfile. Panics at an instruction that might change what is built and that is not read
/// here, so that the tests never check less than the file does.
pub fn parse_stages(text: &str) -> Vec<Stage> {
    let mut stages: Vec<Stage> = vec![];
    for line in join_lines(text) {
        let (instruction, rest) = line.split_once(' ').unwrap();
        let words: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
        if instruction == "FROM" {
            stages.push(Stage {
                base: words[0].clone(),
                name: words.get(2).cloned().unwrap_or_default(),
                folder: "/".to_owned(),
                ..Stage::default()
            });
            continue;
        }
        let stage = stages.last_mut().expect("a FROM comes first");
        match instruction {
            "WORKDIR" => stage.folder.clone_from(&words[0]),
            "COPY" => stage.copies.push(parse_copy(words)),
            "RUN" => stage.commands.extend(parse_commands(&words)),
            "ENTRYPOINT" => stage.entrypoint = serde_json::from_str(rest).unwrap(),
            "LABEL" | "USER" | "EXPOSE" | "CMD" => {}
            _ => panic!("tests/dockerfile does not read the instruction {instruction}"),
        }
    }
    stages
}

/// Returns the instructions, one a line, without comments.
fn join_lines(text: &str) -> Vec<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n")
        .replace("\\\n", " ")
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

fn parse_copy(words: Vec<String>) -> Copy {
    let (flags, mut paths): (Vec<_>, Vec<_>) =
        words.into_iter().partition(|word| word.starts_with("--"));
    let destination = paths.pop().unwrap();
    Copy {
        stage: flags
            .iter()
            .find_map(|flag| flag.strip_prefix("--from="))
            .map(str::to_owned),
        sources: paths,
        destination,
    }
}

fn parse_commands(words: &[String]) -> Vec<Vec<String>> {
    let words: Vec<String> = words
        .iter()
        .filter(|word| !word.starts_with("--mount="))
        .cloned()
        .collect();
    words
        .split(|word| word == "&&")
        .map(<[_]>::to_vec)
        .collect()
}

impl Stage {
    /// Returns the values of a flag in the commands that call Cargo, as in `--package dbbalance`.
    pub fn cargo_values(&self, flag: &str) -> Vec<&str> {
        self.commands
            .iter()
            .filter(|command| command[0] == "cargo")
            .flat_map(|command| command.windows(2))
            .filter(|pair| pair[0] == flag)
            .map(|pair| pair[1].as_str())
            .collect()
    }
}
