# frozen_string_literal: true

# Renews the connection pools of ActiveRecord 6.1 without failing a query. Copy this file to config/initializers.
#
# `disconnect!` is not the way: it keeps every other thread out until all connections are back, and after twice the
# checkout time-out it closes those still in use under their queries. `reconnect!` and a failed `verify!` are not
# either: with ruby-pg before 1.5.6 they go back to the address that was looked up first.
module RenewablePool
  # Closes every connection that the pool has now: an idle one at once, one in use when its thread returns it. New ones
  # are opened as threads ask for them, each with a new look-up of the name.
  def renew!
    synchronize { @retired = connections }
    flush!
  end

  def checkin(connection)
    return super unless retired?(connection)

    remove(connection) # opens another at once if a thread waits for one
    connection.disconnect!
  end

  # Tells it once: who asks renews the connection.
  def retired?(connection)
    synchronize { !@retired&.delete(connection).nil? }
  end

  # Ends the queries that still wait on a retired connection, because its server is gone without a word: they fail, and
  # their threads go on. For use a good while after renew!, longer than the longest transaction.
  def abandon_retired!
    synchronize { connections & @retired.to_a }.each do |connection|
      # Not raw_connection: it takes the lock that the waiting thread holds.
      connection.instance_variable_get(:@connection).socket_io.shutdown
    rescue SystemCallError, IOError, PG::Error
      next # gone meanwhile
    end
  end

  # All pools of the process: of all databases, roles and shards.
  def self.all
    base = ActiveRecord::Base
    handlers = base.legacy_connection_handling ? base.connection_handlers.values : [base.connection_handler]
    handlers.flat_map(&:all_connection_pools).uniq
  end
end

# What a connection does when it is closed or broken.
module RenewableConnection
  # ActiveRecord closes prepared statements, one by one, before it closes the connection: on a socket whose other end is gone
  # that waits for ever. A closed connection has no statements.
  def disconnect!
    close_at_once
    super
  end

  # Called by `verify!` at check-out. A connection that is closed is not reset, but made anew with a new look-up.
  def reconnect!
    close_at_once if pool.retired?(self)
    super
  end

  private

  def close_at_once
    @connection.close
  rescue PG::Error
    nil # closed already
  end
end

ActiveRecord::ConnectionAdapters::ConnectionPool.prepend(RenewablePool)
ActiveRecord::ConnectionAdapters::PostgreSQLAdapter.prepend(RenewableConnection)
