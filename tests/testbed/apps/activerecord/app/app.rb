# frozen_string_literal: true

# A reader and a writer pool of ActiveRecord under a steady load. The contract of all apps is in README.md beside the
# apps' folders; what a real app copies is in renewable_pool.rb.

require "socket"
require "active_record"
require "active_record/connection_adapters/postgresql_adapter"
require "webrick"
require_relative "counters"
require_relative "renewable_pool"

JOURNAL = Journal.new($stdout)
RENEWALS = Queue.new

def setting(name, default) = ENV.fetch(name, "").empty? ? default : ENV.fetch(name)
def milliseconds = Process.clock_gettime(Process::CLOCK_MONOTONIC) * 1000.0

POOLS = { reader: setting("POOL_SIZE", "10").to_i, writer: setting("WRITER_POOL_SIZE", "5").to_i }.freeze

# As in config/database.yml.
def database(host, role, size)
  timeout = setting("SOCKET_TIMEOUT", nil)
  sane = timeout && { # without it, what libpq and the kernel do by themselves
    connect_timeout: timeout.to_i, tcp_user_timeout: timeout.to_i * 1000,
    keepalives_idle: timeout.to_i, keepalives_interval: 1, keepalives_count: 3
  }
  { adapter: "postgresql", host: host, port: setting("DB_PORT", "5432").to_i,
    database: setting("DB_NAME", "app"), username: setting("DB_USER", "app"), password: setting("DB_PASSWORD", nil),
    pool: size, application_name: "#{Socket.gethostname}/#{role}"[0, 63], **sane.to_h }.compact
end

class ApplicationRecord < ActiveRecord::Base
  self.abstract_class = true
end

# A pool, its load, and what came of it.
class Load
  # Pause before another try after a failure, s; short, so that the rate is nearly kept.
  PAUSE = 0.1

  # `reader` or `writer`.
  attr_reader :name

  def initialize(name, role, sql, bind)
    @name = name
    @role = role
    @size = POOLS.fetch(name)
    rate = setting("#{{ reader: "READ", writer: "WRITE" }.fetch(name)}_RATE", "10").to_f
    @interval = rate.positive? ? @size / rate : nil
    @sql = sql
    @bind = bind
    @counters = Counters.new
  end

  def pool
    ApplicationRecord.connected_to(role: @role) { ApplicationRecord.connection_pool }
  end

  # Opens all connections of the pool; tries until it could.
  def open
    taken = []
    taken << pool.checkout while taken.size < @size
    JOURNAL.write("open", pool: @name, connections: taken.size)
  rescue StandardError => e
    JOURNAL.write("error", pool: @name, kind: kind(e), text: e.message.strip)
    sleep 0.5
    retry
  ensure
    taken.each { |connection| pool.checkin(connection) }
  end

  # As many threads as connections. A thread is a request after the other: it takes a connection, makes a query, and keeps
  # the connection for the rest of its interval, as a busy app does. So all connections are used.
  def start
    return unless @interval

    @size.times do |n|
      Thread.new do
        due = milliseconds + @interval * 1000 * n / @size
        pause_until(due)
        ApplicationRecord.connected_to(role: @role) do
          loop { due = request(due) }
        end
      end
    end
  end

  def to_h
    stat = pool.stat
    { size: stat[:size], connections: stat[:connections], busy: stat[:busy], idle: stat[:idle],
      waiting: stat[:waiting], **@counters.to_h(milliseconds) }
  end

  private

  # Gives the time at which the next one is due.
  def request(due)
    began = milliseconds
    @counters.began(began)
    pool.with_connection do |connection|
      # With a bind, so that it is a prepared statement, as an app's queries are.
      server = connection.exec_query(@sql, "Load", [[nil, @bind]], prepare: true).rows[0][0]
      @counters.ended(milliseconds - began, server: server)
      due = [due + @interval * 1000, milliseconds].max
      pause_until(due)
    end
    due
  rescue StandardError => e
    @counters.ended(milliseconds - began, kind: kind(e))
    JOURNAL.write("error", pool: @name, kind: kind(e), text: e.message.strip, took_ms: (milliseconds - began).round)
    sleep PAUSE
    milliseconds
  end

  def pause_until(due)
    rest = (due - milliseconds) / 1000
    sleep(rest) if rest.positive?
  end

  # The SQL state, in a word for the one that tells of a demoted writer; without one the exception's class.
  def kind(error)
    state = error.cause.result&.error_field(PG::Result::PG_DIAG_SQLSTATE) if error.cause.is_a?(PG::Error)
    state == "25006" ? "read_only" : state || (error.cause || error).class.name
  end
end

def renew(why)
  JOURNAL.write("recycle", why: why, number: $recycles += 1)
  RenewablePool.all.each(&:renew!)
  grace = setting("RENEW_GRACE", "0").to_f
  return unless grace.positive?

  Thread.new do
    sleep grace
    RenewablePool.all.each(&:abandon_retired!)
  end
end

# The table of the writes. Many pods may try at once, and all but one of them fail.
def make_table(pool)
  pool.with_connection do |connection|
    connection.execute("CREATE TABLE IF NOT EXISTS writes (pod text, at timestamptz DEFAULT now())")
  rescue ActiveRecord::StatementInvalid
    raise unless connection.select_value("SELECT to_regclass('writes')")
  end
rescue StandardError => e
  JOURNAL.write("error", pool: :writer, kind: e.class.name, text: e.message.strip)
  sleep 0.5
  retry
end

$recycles = 0
ActiveRecord::Base.legacy_connection_handling = false
ActiveRecord::Base.configurations = { "default_env" => {
  "primary" => database(setting("DB_WRITER_HOST", "localhost"), "writer", POOLS[:writer]),
  "replica" => database(setting("DB_READER_HOST", "localhost"), "reader", POOLS[:reader])
} }
ApplicationRecord.connects_to database: { writing: :primary, reading: :replica }

loads = []
if setting("READER_POOL", "on") == "on"
  loads << Load.new(:reader, :reading, "SELECT host(inet_server_addr()) WHERE $1 > 0", 1)
end
if setting("WRITER_POOL", "on") == "on"
  loads << Load.new(:writer, :writing, "INSERT INTO writes (pod) VALUES ($1) RETURNING host(inet_server_addr())",
                    Socket.gethostname)
end

JOURNAL.write("start", app: "activerecord", versions: { activerecord: ActiveRecord.version.to_s, pg: PG::VERSION,
                                                        libpq: PG.library_version, ruby: RUBY_VERSION })

ready = false
server = WEBrick::HTTPServer.new(Port: 8080, AccessLog: [], Logger: WEBrick::Log.new($stderr, WEBrick::Log::FATAL))
answer = lambda do |response, status, body, type = "text/plain"|
  response.status = status
  response.content_type = type
  response.body = body
end
server.mount_proc("/healthz") { |_, out| ready ? answer.(out, 200, "ok\n") : answer.(out, 503, "not connected yet\n") }
server.mount_proc("/pool/recycle") do |request, out|
  next answer.(out, 405, "POST\n") unless request.request_method == "POST"

  renew("HTTP")
  answer.(out, 200, "begun\n")
end
server.mount_proc("/stats") do |_, out|
  pools = loads.to_h { |load| [load.name, load.to_h] }
  answer.(out, 200, { app: "activerecord", ready: ready, recycles: $recycles, pools: pools }.to_json, "application/json")
end
server.mount_proc("/log") do |request, out|
  answer.(out, 200, JOURNAL.after(request.query["since"].to_i).map { |line| "#{line}\n" }.join, "application/x-ndjson")
end

# Nothing but a push in a trap: it may come in the middle of anything.
Signal.trap("HUP") { RENEWALS << "HUP" }
%w[TERM INT].each { |name| Signal.trap(name) { exit!(0) } }
Thread.new { loop { renew(RENEWALS.pop) } }
Thread.new do
  loads.each do |load|
    load.open
    make_table(load.pool) if load.name == :writer
  end
  ready = true
  loads.each(&:start)
end
server.start
