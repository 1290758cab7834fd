//! Routes that know their paths, so that a test can hold the OpenAPI document against them.

use std::sync::Arc;

use axum::Router;
use axum::routing::MethodRouter;

use super::super::App;

/// A router, and the paths in it.
pub(super) struct Routes {
    pub(super) router: Router<Arc<App>>,
    pub(super) paths: Vec<&'static str>,
}

impl Routes {
    pub(super) fn new() -> Routes {
        Routes { router: Router::new(), paths: Vec::new() }
    }

    pub(super) fn route(mut self, path: &'static str, methods: MethodRouter<Arc<App>>) -> Routes {
        self.paths.push(path);
        Routes { router: self.router.route(path, methods), ..self }
    }

    pub(super) fn merge(mut self, other: Routes) -> Routes {
        self.paths.extend(other.paths);
        Routes { router: self.router.merge(other.router), ..self }
    }
}
