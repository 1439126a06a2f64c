//! The admin API's listener, on a runtime of its own kind: nothing that it does delays a client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::admin::auth::{Guard, Permission, Token};
use crate::admin::downstream::Board;
use crate::admin::estimate::Holdings;
use crate::admin::hooks::{self, Hook};
use crate::admin::layers::{Behind, Panel};
use crate::admin::purges::Fleet;
use crate::admin::readiness::Readiness;
use crate::admin::reload::Reload;
use crate::admin::{Admin, for_peer, router};
use crate::app::assemble::House;
use crate::app::downstream::Targets;
use crate::app::handover::Inherited;
use crate::app::{StartError, remedy};
use crate::config::settings::{self, TokenScope};
use crate::server::introduction::{Caller, Threshold};
use crate::server::limits::Limits;
use crate::server::shutdown::Drain;
use crate::server::{Welcome, serve};
use crate::store::shared::SecondLevel;

/// How long requests in hand may take when the process ends.
const GRACE: Duration = Duration::from_secs(1);

/// The bound socket of the admin API.
pub(crate) struct Socket {
    pub(crate) address: SocketAddr,
    listener: std::net::TcpListener,
}

/// What of the admin API a reload changes.
#[derive(Clone)]
pub(crate) struct Changing {
    pub(crate) guard: Arc<Guard>,
    pub(crate) config: Arc<ArcSwap<String>>,
    pub(crate) hooks: Arc<ArcSwap<Vec<Hook>>>,
    /// Who is told of purges, and what became of it.
    pub(crate) targets: Targets,
    pub(crate) board: Arc<Board>,
}

/// The admin API, being served.
pub(crate) struct Serving {
    drain: Drain,
    task: JoinHandle<()>,
}

pub(crate) fn socket(address: SocketAddr, inherited: &mut Inherited) -> Result<Socket, StartError> {
    let keys = "--admin ADDRESS or `admin.listen`";
    let failed = |why| remedy::no_socket(address, " for the admin API", keys, &why);
    let mut listeners = inherited.bind(address, 1).map_err(failed)?;
    let listener = listeners.remove(0);
    let address = listener.local_addr().map_err(failed)?;
    Ok(Socket { address, listener })
}

impl Changing {
    pub(crate) fn new(settings: &settings::Settings) -> Self {
        let config = Arc::new(ArcSwap::from_pointee(settings.print()));
        Self {
            guard: Arc::new(Guard::new(tokens(&settings.admin))),
            config,
            hooks: Arc::new(ArcSwap::from_pointee(hooks(settings))),
            targets: Arc::new(ArcSwap::from_pointee(settings.downstream.clone())),
            board: Arc::default(),
        }
    }

    pub(crate) fn change(&self, settings: &settings::Settings) {
        self.guard.set(tokens(&settings.admin));
        self.config.store(Arc::new(settings.print()));
        self.hooks.store(Arc::new(hooks(settings)));
        self.targets.store(Arc::new(settings.downstream.clone()));
    }
}

/// Serves the admin API on the current runtime until it is stopped.
pub(crate) fn start(
    socket: Socket,
    house: &House,
    changing: Changing,
    readiness: Arc<Readiness>,
    loader: mpsc::Sender<Reload>,
) -> Result<Serving, StartError> {
    let listener = TcpListener::from_std(socket.listener)
        .map_err(|why| remedy::failed("cannot serve the admin API", &why))?;
    let router = router(Admin {
        purging: Fleet {
            purger: house.purger.clone(),
            routes: house.routes.clone(),
            holdings: Holdings {
                ledger: house.ledger.clone(),
                memory: house.memory.clone(),
                second: house.second.clone(),
            },
        },
        guard: changing.guard,
        metrics: house.metrics.clone(),
        readiness,
        loader,
        config: changing.config,
        hooks: changing.hooks,
        board: changing.board,
        panel: Panel {
            switches: house.switches.clone(),
            memory: house.memory.clone(),
            behind: behind(&house.second),
        },
    });
    let drain = Drain::new();
    let make = move |caller: Caller, _: &_| Welcome::to(for_peer(&router, caller.address));
    let open = Threshold::default();
    let serving = serve(listener, open, make, Arc::new(Limits::default()), drain.clone());
    let task = tokio::runtime::Handle::current().spawn(serving);
    Ok(Serving { drain, task })
}

fn behind(second: &SecondLevel) -> Behind {
    match second {
        SecondLevel::None => Behind::None,
        #[cfg(feature = "disk")]
        SecondLevel::Disk(_) => Behind::Disk,
        SecondLevel::Redis(_) => Behind::Redis,
    }
}

impl Serving {
    /// Answers what is in hand, for a moment, and ends.
    pub(crate) async fn stop(self) {
        self.drain.finish(GRACE).await;
        self.task.abort();
    }
}

fn hooks(settings: &settings::Settings) -> Vec<Hook> {
    let hook = |hook: &settings::Hook| {
        Hook::new(hooks::Settings {
            name: hook.name.clone(),
            secret: hook.secret.expose_secret(),
            signature: hook.signature.clone(),
            time: hook.timestamp.clone().map(|field| (field, hook.tolerance)),
            event: hook.event.clone(),
            data: hook.data.clone(),
        })
    };
    settings.hooks.iter().map(hook).collect()
}

fn tokens(admin: &settings::Admin) -> Vec<Token> {
    let permission = |scope: &TokenScope| match scope {
        TokenScope::Read => Permission::Read,
        TokenScope::Purge => Permission::Purge,
        TokenScope::Config => Permission::Config,
    };
    let tokens = admin.tokens.iter().map(|token| {
        let permissions = token.scopes.iter().map(permission).collect();
        Token::new(&token.name, token.secret.expose_secret(), permissions)
    });
    tokens.collect()
}
