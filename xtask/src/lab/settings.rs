//! How a node is told its part in the cluster: each style as files of the node.

use super::place::Node;

/// Where a node's settings of etcd come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Style {
    /// Written below /run at every boot, as coreos-cloudinit did
    Cloudinit,
    /// A drop-in below /etc under a name of its own, as Ignition writes it
    Ignition,
    /// etcd-member.service, with flags instead of variables, as on Flatcar
    Flatcar,
    /// As cloudinit, the members found by a discovery URL that the scenario serves
    Discovery,
    /// None: the scenario writes its own and starts etcd
    None,
}

/// Where the lab's discovery endpoint is; the scenario makes the token before it starts etcd2.
const DISCOVERY: &str = "http://10.77.0.1:4001/v2/keys/discovery/lab";

impl Style {
    /// The name in a scenario's header.
    pub(super) fn named(name: &str) -> Option<Self> {
        clap::ValueEnum::from_str(name, false).ok()
    }

    /// The unit that runs etcd.
    pub(super) fn unit(self) -> &'static str {
        if self == Self::Flatcar { "etcd-member.service" } else { "etcd2.service" }
    }

    /// Whether etcd comes up by itself when all nodes boot.
    pub(super) fn starts_etcd(self) -> bool {
        !matches!(self, Self::None | Self::Discovery)
    }

    /// The files of one node: path and content.
    pub(super) fn files(self, node: Node, all: &[Node]) -> Vec<(&'static str, String)> {
        let variables = |members: (&str, String)| {
            let address = node.address();
            let pairs = [
                ("ETCD_NAME", node.to_string()),
                ("ETCD_ADVERTISE_CLIENT_URLS", format!("http://{address}:2379")),
                ("ETCD_INITIAL_ADVERTISE_PEER_URLS", format!("http://{address}:2380")),
                ("ETCD_LISTEN_CLIENT_URLS", "http://0.0.0.0:2379".to_owned()),
                ("ETCD_LISTEN_PEER_URLS", format!("http://{address}:2380")),
                members,
            ];
            let lines = pairs.map(|(name, value)| format!("Environment=\"{name}={value}\"\n"));
            format!("[Service]\n{}", lines.concat())
        };
        let fixed = || variables(("ETCD_INITIAL_CLUSTER", cluster(all)));
        match self {
            Self::Cloudinit => vec![("etc/lab/cloudinit/etcd2.service.d/20-cloudinit.conf", fixed())],
            Self::Discovery => vec![(
                "etc/lab/cloudinit/etcd2.service.d/20-cloudinit.conf",
                variables(("ETCD_DISCOVERY", DISCOVERY.to_owned())),
            )],
            Self::Ignition => vec![("etc/systemd/system/etcd2.service.d/40-etcd-cluster.conf", fixed())],
            Self::Flatcar => {
                let drop_in = "etc/systemd/system/etcd-member.service.d/20-clct-etcd-member.conf";
                vec![(drop_in, flags(node, all))]
            }
            Self::None => Vec::new(),
        }
    }
}

fn cluster(all: &[Node]) -> String {
    let members: Vec<String> = all.iter().map(|n| format!("{n}=http://{}:2380", n.address())).collect();
    members.join(",")
}

fn flags(node: Node, all: &[Node]) -> String {
    let address = node.address();
    format!(
        "[Service]\nExecStart=\nExecStart=/usr/lib/coreos/etcd-wrapper $ETCD_OPTS \\\n  \
         --name=\"{node}\" \\\n  \
         --listen-peer-urls=\"http://{address}:2380\" \\\n  \
         --listen-client-urls=\"http://0.0.0.0:2379\" \\\n  \
         --initial-advertise-peer-urls=\"http://{address}:2380\" \\\n  \
         --initial-cluster=\"{}\" \\\n  \
         --advertise-client-urls=\"http://{address}:2379\"\n",
        cluster(all)
    )
}

#[cfg(test)]
mod tests {
    use super::super::place::Lab;
    use super::*;

    #[test]
    fn each_style_writes_its_own_file() {
        let nodes = Lab::named("x").unwrap().nodes(2);
        let one = |style: Style| style.files(nodes[1], &nodes).pop().unwrap();
        let members = "ETCD_INITIAL_CLUSTER=e1=http://10.77.0.11:2380,e2=http://10.77.0.12:2380\"\n";
        let (path, text) = one(Style::Cloudinit);
        assert_eq!(path, "etc/lab/cloudinit/etcd2.service.d/20-cloudinit.conf");
        assert!(
            text.starts_with("[Service]\nEnvironment=\"ETCD_NAME=e2\"\n") && text.ends_with(members),
            "{text}"
        );
        let (path, same) = one(Style::Ignition);
        assert_eq!(path, "etc/systemd/system/etcd2.service.d/40-etcd-cluster.conf");
        assert_eq!(same, text);
        let (_, text) = one(Style::Discovery);
        assert!(text.contains("ETCD_DISCOVERY=") && !text.contains("INITIAL_CLUSTER"), "{text}");
        let (_, text) = one(Style::Flatcar);
        assert!(text.contains("--name=\"e2\"") && !text.contains("Environment"), "{text}");
        assert_eq!(Style::None.files(nodes[0], &nodes), []);
    }

    #[test]
    fn a_header_names_a_style() {
        assert_eq!(Style::named("ignition"), Some(Style::Ignition));
        assert_eq!(Style::named("cloud"), None);
    }
}
