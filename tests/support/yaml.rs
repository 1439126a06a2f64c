//! Configurations as the stories need them: one origin, one route, and what differs.

use super::origin::Origin;

/// The parts of a configuration file, each as YAML.
pub(crate) struct Yaml {
    origin: String,
    of_origin: String,
    route: String,
    top: String,
}

/// Everything goes to `origin` by one route named `all`.
pub(crate) fn all_to(origin: &Origin) -> Yaml {
    all_to_url(&origin.url())
}

pub(crate) fn all_to_url(url: &str) -> Yaml {
    Yaml {
        origin: url.to_owned(),
        of_origin: String::new(),
        route: String::new(),
        top: String::new(),
    }
}

impl Yaml {
    /// Adds a key of the route, such as `ttl: 1m`.
    pub(crate) fn route(mut self, line: &str) -> Self {
        self.route.extend(["    ", line, "\n"]);
        self
    }

    /// Adds a key of the origin, such as `timeouts: { first_byte: 1s }`.
    pub(crate) fn origin(mut self, line: &str) -> Self {
        self.of_origin.extend(["    ", line, "\n"]);
        self
    }

    /// Adds lines at the top level, such as `l2: none`.
    pub(crate) fn top(mut self, lines: &str) -> Self {
        self.top.extend([lines, "\n"]);
        self
    }

    /// Adds a Redis as the second layer, with a breaker that tries again soon.
    pub(crate) fn redis(self, port: u16) -> Self {
        self.top(&format!(
            "l2:\n  redis: {{ url: \"redis://127.0.0.1:{port}/0\", timeout: 100ms, breaker: {{ failures: 5, open_for: 500ms }} }}"
        ))
    }

    /// Adds a directory as the second layer.
    pub(crate) fn disk(self, directory: &std::path::Path) -> Self {
        self.top(&format!("l2:\n  disk: {{ path: \"{}\", capacity: 64MiB }}", directory.display()))
    }

    pub(crate) fn text(&self) -> String {
        let Self { origin, of_origin, route, top } = self;
        format!(
            "{top}origins:\n  api:\n    endpoints: [ \"{origin}\" ]\n{of_origin}\
             routes:\n  - name: all\n    match: {{ path: \"/**\" }}\n    origin: api\n{route}"
        )
    }

    /// Starts Larder with it.
    pub(crate) async fn start(&self) -> super::larder::Larder {
        super::larder::Larder::start(&self.text()).await
    }
}
