# What a scenario is written with where etcd has certificates: sourced behind lib.sh. Peers and clients need one; the words of
# lib.sh go on by a plain port that no member tells of.
tls=/etc/ssl/etcd
peer_url() { echo "https://$(address "$1"):2380"; }
tls_url() { echo "https://$(address "$1"):2378"; }
etcdctl_on() {
    local node=$1
    shift
    on "$node" etcdctl --ca-file $tls/ca.pem --cert-file $tls/member.pem --key-file $tls/member.key \
        --endpoints "$(tls_url "$node")" "$@"
}

authority=$work_dir/authority
make_key() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -batch -days 30 "$@" 2>>"$work_dir/openssl.log"; }
mkdir -p "$authority"
make_key -x509 -subj /CN=authority -keyout "$authority/ca.key" -out "$authority/ca.pem"

# certificates NODE: from an authority of this run, good for servers and clients.
certificates() {
    local dir=$work_dir/certificates-$1
    mkdir -p "$dir"
    make_key -subj "/CN=$1" -keyout "$dir/member.key" -out "$dir/request"
    printf 'extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=IP:%s,IP:127.0.0.1\n' "$(address "$1")" >"$dir/extensions"
    openssl x509 -req -in "$dir/request" -CA "$authority/ca.pem" -CAkey "$authority/ca.key" -CAcreateserial -days 30 \
        -extfile "$dir/extensions" -out "$dir/member.pem" 2>>"$work_dir/openssl.log"
    cp "$authority/ca.pem" "$dir"
    tar -C "$dir" -c ca.pem member.pem member.key |
        ssh "core@$1" "sudo mkdir -p $tls && sudo tar -C $tls --no-same-owner -x && sudo chmod 644 $tls/*"
}
