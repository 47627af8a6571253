"""Operating a running job, or a store where nothing runs: service, client and the ps-admin command.

ps-admin ──► client ──gRPC──► service ──► AdminTarget (the job)
    └──► offline ──► ps.store
"""
