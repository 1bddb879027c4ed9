# frozen_string_literal: true

require "json"

# What one pool's queries came to. Shapes: see README.md of the apps.
class Counters
  # Bounds of the latency classes, ms: each a tenth above the last, so a percentile is at most 10 % too high.
  BOUNDS = (0..150).map { |n| 0.05 * 1.1**n }.freeze
  # A query is slow above this, ms.
  SLOW = 1000

  def initialize
    @lock = Mutex.new
    @ok = @failed = @slow = 0
    @kinds = Hash.new(0)
    @servers = Hash.new(0)
    @classes = Array.new(BOUNDS.size + 1, 0)
    @max = 0.0
    @running = {}
  end

  def began(at)
    @lock.synchronize { @running[Thread.current] = at }
  end

  # A query ended after `took` ms: answered by `server`, or failed with a `kind`.
  def ended(took, server: nil, kind: nil)
    @lock.synchronize do
      @running.delete(Thread.current)
      if kind
        @failed += 1
        @kinds[kind] += 1
      else
        @ok += 1
        @servers[server] += 1
      end
      @slow += 1 if took > SLOW
      @max = took if took > @max
      @classes[BOUNDS.bsearch_index { |bound| bound >= took } || BOUNDS.size] += 1
    end
  end

  def to_h(now)
    @lock.synchronize do
      { ok: @ok, failed: @failed, failed_by: @kinds.dup, slow: @slow,
        stuck: @running.count { |_, since| now - since > SLOW },
        latency_ms: { max: @max.round(2), p50: percentile(0.5), p99: percentile(0.99) },
        servers: @servers.dup }
    end
  end

  private

  def percentile(share)
    wanted = @classes.sum * share
    return 0 if wanted.zero?

    sum = 0
    found = @classes.index { |count| (sum += count) >= wanted }
    [BOUNDS[found] || @max, @max].min.round(2)
  end
end

# Errors and events, as JSON lines: the last ones for `GET /log`, all of them on standard output.
class Journal
  KEPT = 10_000

  def initialize(out)
    @out = out
    @lock = Mutex.new
    @lines = []
    @seq = 0
  end

  def write(event, **fields)
    @lock.synchronize do
      line = { seq: @seq += 1, ms: (Time.now.to_f * 1000).round, event: event, **fields }.to_json
      @lines << line
      @lines.shift if @lines.size > KEPT
      @out.puts(line)
      @out.flush
    end
  end

  # Lines with a `seq` above `since`.
  def after(since)
    @lock.synchronize { @lines.last([@seq - since, 0].max) }
  end
end
