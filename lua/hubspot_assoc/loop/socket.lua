return require "hubspot_assoc.socket" -- its name before 0.2: it is no event loop
