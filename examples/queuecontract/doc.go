// Package queuecontract has no code: its tests show that the stores of this library are trackers of its queue, which neither side can do alone.
package queuecontract
