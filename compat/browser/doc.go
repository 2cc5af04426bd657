// Package browser tests the status page in headless Chromium.
package browser
