// Package lint tests what deploy/ has, by the tools that will read it: BuildKit's parser and
// linter, Compose's loader, Kubernetes' types, kube-score and systemd-analyze. It has no code.
package lint
